"""BLEU, chrF and TER, computed by sacrebleu and signed by it.

Texts are handed over as they are, and the settings are sacrebleu's defaults, so that the
signatures reproduce the figures with sacrebleu's own command. sacrebleu is imported inside the
functions: it loads lxml, which takes longer than measuring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, get_args

from jumok.config import EvaluationConfig
from jumok.errors import ConfigError, MissingExtra
from jumok.metrics.references import check_lengths

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric, Score

NGRAM_METRICS = ("bleu", "chrf", "ter")

_TOKENIZERS = get_args(EvaluationConfig.model_fields["bleu_tokenize"].annotation)
"""sacrebleu's, but for those that it downloads a model for."""


def ngram_statistics(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    bleu_tokenize: str,
) -> tuple[list[list[int | float]], Callable[[Sequence[int | float]], float]]:
    """sacrebleu's counts for each output, and what makes of their sum a score, in per cent.

    These are methods that sacrebleu keeps to itself and its `PairedTest` goes by; the scores of
    resamples are to be had no other way.
    """
    metric = _make(name, bleu_tokenize)
    counts = metric._extract_corpus_statistics(list(hypotheses), _streams(references))
    return counts, lambda sums: _value(name, metric._compute_score_from_stats(list(sums)))


def bleu_signature(
    references: Sequence[Sequence[str]],
    *,
    bleu_tokenize: str = "13a",
    resamples: int | None = None,
    seed: int | None = None,
) -> dict[str, str]:
    """sacrebleu's signatures for ``bleu``, ``chrf`` and ``ter`` measured against ``references``.

    A signature tells the number of references (``var`` where it differs between outputs), the
    tokenizer, the ``resamples`` and their ``seed`` if there are any, and sacrebleu's version, and
    belongs beside every figure that is published.
    """
    check_lengths([""] * len(references), references)
    # Only the number of references matters: blanks save tokenizing a whole test set again.
    blanks = _streams([[""] * len(refs) for refs in references])
    signatures = {}
    for name in NGRAM_METRICS:
        metric = _make(name, bleu_tokenize)
        metric.corpus_score([""] * len(references), blanks)
        signature = metric.get_signature()
        signature.update("bs", resamples)
        signature.update("seed", seed)
        signatures[name] = str(signature)
    return signatures


def _value(name: str, score: Score) -> float:
    value = float(score.score)
    return value if name == "ter" else min(value, 100.0)  # sacrebleu may say 100.00000000000004


def _make(name: str, bleu_tokenize: str) -> Metric:
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
        from sacrebleu.metrics.ter import TER
    except ModuleNotFoundError as error:
        raise MissingExtra("evaluate", error.name or "sacrebleu") from None

    if name == "chrf":
        return CHRF()
    if name == "ter":
        return TER()
    if bleu_tokenize not in _TOKENIZERS:
        raise ConfigError(
            f"BLEU's tokenizer must be one of {', '.join(_TOKENIZERS)}, but '{bleu_tokenize}' "
            "came. Set evaluation.bleu_tokenize"
        )
    try:
        # force: outputs of a tokenized corpus end in " ." and sacrebleu would warn on stderr
        return BLEU(tokenize=bleu_tokenize, force=True)
    except RuntimeError as error:
        if bleu_tokenize == "ko-mecab":
            raise MissingExtra("ko", "mecab_ko") from error
        raise ConfigError(
            f"sacrebleu's tokenizer '{bleu_tokenize}' needs packages that are not installed. "
            f"Install them with: pip install 'sacrebleu[{bleu_tokenize[:2]}]'"
        ) from error


def _streams(references: Sequence[Sequence[str]]) -> list[list[Any]]:
    """Turn references per output into sacrebleu's reference streams, padded with None.

    sacrebleu drops a ``None`` and takes ``""`` for a real, empty reference
    (``Metric._cache_references``); its annotations leave the ``None`` out.
    """
    return [list(stream) for stream in zip_longest(*references)]
