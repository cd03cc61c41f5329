"""The metrics by name: one of them (validation), or all (evaluation)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from jumok.metrics import edits
from jumok.metrics.ngrams import NGRAM_METRICS, bleu_signature, ngram_metric
from jumok.metrics.references import check_lengths

__all__ = ["METRICS", "bleu_signature", "metric_value", "perplexity", "score_outputs"]

_EDIT_METRICS: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]]], float]] = {
    "exact_match": edits.exact_match,
    "wer": edits.word_error_rate,
    "per": edits.phone_error_rate,
    "cer": edits.character_error_rate,
}

METRICS: tuple[str, ...] = (*_EDIT_METRICS, *NGRAM_METRICS)
"""Names of the metrics that compare outputs with references, in the order they are reported."""


def metric_value(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    bleu_tokenize: str = "13a",
) -> float:
    """Compute the one metric ``name``, in per cent. Cheap metrics stay cheap: no other is touched.

    ``references`` has one or more strings for each output. Raises `ValueError` if there is no
    output, an output has no reference, or ``name`` is not in `METRICS`.
    """
    check_lengths(hypotheses, references)
    if name in _EDIT_METRICS:
        return _EDIT_METRICS[name](hypotheses, references)
    if name in NGRAM_METRICS:
        return ngram_metric(name, hypotheses, references, bleu_tokenize=bleu_tokenize)
    raise ValueError(f"The metric must be one of {', '.join(METRICS)}, but '{name}' came")


def score_outputs(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    bleu_tokenize: str = "13a",
) -> dict[str, float]:
    """Compute every metric in `METRICS`, in per cent. Raises as `metric_value` does."""
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
