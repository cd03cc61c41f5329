"""Metrics as sums over outputs, so that any selection of outputs is scored without its texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jumok.metrics import edits
from jumok.metrics.ngrams import ngram_statistics
from jumok.metrics.references import check_lengths
from jumok.metrics.scores import METRICS, perplexity


class Summed(NamedTuple):
    """One metric: what each output adds, and the score of what a selection adds up to."""

    rows: Sequence[Sequence[int | float]]
    score: Callable[[Sequence[float]], float]


def summed(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    bleu_tokenize: str = "13a",
) -> Summed:
    """The metric ``name``: all rows together score its `metric_value`. Raises as that does."""
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


def _rate(sums: Sequence[float]) -> float:
    return edits.rate(*sums)
