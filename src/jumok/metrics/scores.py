"""The metrics by name: one of them (validation), all (evaluation), or as sums (comparison).

Each is a sum over outputs, so that any selection of outputs is scored without its texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from jumok.metrics import edits
from jumok.metrics.ngrams import NGRAM_METRICS, ngram_statistics
from jumok.metrics.references import check_lengths

METRICS: tuple[str, ...] = ("exact_match", "wer", "per", "cer", *NGRAM_METRICS)
"""Names of the metrics that compare outputs with references, in the order they are reported.

``wer`` is the share of outputs that equal none of their references, the convention of
grapheme-to-phoneme work, where an output is the pronunciation of one word (SIGMORPHON 2020 shared
task 1, Gorman et al. 2020). It is not the WER of speech recognition. ``per`` is the edit distance
over the tokens between spaces, ``cer`` that over characters, spaces too."""


class Summed(NamedTuple):
    """One metric: what each output adds, and the score of what a selection adds up to."""

    rows: Sequence[Sequence[int | float]]
    score: Callable[[Sequence[int | float]], float]

    @property
    def whole(self) -> float:
        """The score of all outputs."""
        return self.score([sum(column) for column in zip(*self.rows, strict=True)])


def summed(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    bleu_tokenize: str = "13a",
) -> Summed:
    """The one metric ``name``, in per cent. Cheap metrics stay cheap: no other is touched.

    ``references`` has one or more strings for each output. Raises `ValueError` if there is no
    output, an output has no reference, or ``name`` is not in `METRICS`.
    """
    check_lengths(hypotheses, references)
    if name not in METRICS:
        raise ValueError(f"The metric must be one of {', '.join(METRICS)}, but '{name}' came")
    if name in ("exact_match", "wer"):
        wanted = name == "exact_match"
        found = edits.right(hypotheses, references)
        return Summed([(int(one is wanted), 1) for one in found], _rate)
    if name in ("per", "cer"):
        count = edits.phone_edits if name == "per" else edits.character_edits
        return Summed(count(hypotheses, references), _rate)
    return Summed(*ngram_statistics(name, hypotheses, references, bleu_tokenize=bleu_tokenize))


def summed_perplexity(log_probs: Sequence[float], tokens: Sequence[int]) -> Summed:
    """Perplexity, from each item's log-probability and the tokens it is the sum of."""
    rows = list(zip(log_probs, tokens, strict=True))
    return Summed(rows, lambda sums: perplexity(sums[0], round(sums[1])))


def metric_value(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    bleu_tokenize: str = "13a",
) -> float:
    """The score of all outputs by the metric ``name``. Raises as `summed` does."""
    return summed(name, hypotheses, references, bleu_tokenize=bleu_tokenize).whole


def try_metrics(names: Iterable[str] = METRICS, *, bleu_tokenize: str = "13a") -> None:
    """Raise `MissingExtra` or `ConfigError` now, not when all outputs are there to be measured."""
    for name in names:
        metric_value(name, ["a"], [["a"]], bleu_tokenize=bleu_tokenize)


def score_outputs(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    bleu_tokenize: str = "13a",
) -> dict[str, float]:
    """Compute every metric in `METRICS`, in per cent. Raises as `summed` does."""
    return {
        name: metric_value(name, hypotheses, references, bleu_tokenize=bleu_tokenize)
        for name in METRICS
    }


def perplexity(total_log_prob: float, tokens: int) -> float:
    """exp(-mean log-probability per token), from natural logarithms; ``inf`` where it overflows.

    ``total_log_prob`` is summed over ``tokens`` target tokens, the end token counted.
    """
    if tokens < 1:
        raise ValueError(f"Perplexity needs at least one token, but {tokens} came")
    try:
        return math.exp(-total_log_prob / tokens)
    except OverflowError:
        return math.inf


def _rate(sums: Sequence[int | float]) -> float:
    return edits.rate(*sums)
