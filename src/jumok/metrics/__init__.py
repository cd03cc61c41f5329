"""What an output is worth: figures from strings and numbers, no model and no file.

All but `perplexity` compare outputs with references and are in per cent.
"""

from jumok.metrics.references import group_references
from jumok.metrics.scores import METRICS, bleu_signature, metric_value, perplexity, score_outputs

__all__ = [
    "METRICS",
    "bleu_signature",
    "group_references",
    "metric_value",
    "perplexity",
    "score_outputs",
]
