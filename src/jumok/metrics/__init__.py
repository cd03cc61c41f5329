"""What an output is worth: figures from strings and numbers, no model and no file.

All but `perplexity` compare outputs with references, or alignments with gold links, and are in per
cent.
"""

from jumok.metrics.alignment import AlignmentScores, GoldLinks, alignment_scores, read_links
from jumok.metrics.edits import token_error_rate
from jumok.metrics.ngrams import bleu_signature
from jumok.metrics.references import Items, group_references, nfc
from jumok.metrics.scores import (
    METRICS,
    Summed,
    metric_value,
    perplexity,
    score_outputs,
    summed,
    summed_perplexity,
    try_metrics,
)

__all__ = [
    "METRICS",
    "AlignmentScores",
    "GoldLinks",
    "Items",
    "Summed",
    "alignment_scores",
    "bleu_signature",
    "group_references",
    "metric_value",
    "nfc",
    "perplexity",
    "read_links",
    "score_outputs",
    "summed",
    "summed_perplexity",
    "token_error_rate",
    "try_metrics",
]
