"""How good a model is on pairs it has not seen: outputs judged, and perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jumok.metrics import bleu_signature, group_references, metric_value, perplexity, score_outputs
from jumok.predictor import Predictor


def evaluate(
    predictor: Predictor, pairs: Sequence[tuple[str, str]], **search: Any
) -> dict[str, float]:
    """Every metric on ``pairs``; those with one source are one item with several references.

    Keys: exact_match wer per cer bleu chrf ter (per cent) and perplexity (per target token, EOS
    counted, of every pair).
    """
    report = evaluate_report(predictor, pairs, **search)
    return {key: value for key, value in report.items() if isinstance(value, float)}


def evaluate_report(
    predictor: Predictor, pairs: Sequence[tuple[str, str]], **search: Any
) -> dict[str, Any]:
    """`evaluate`, with the numbers of ``pairs`` and ``sources`` and sacrebleu's ``signatures``."""
    sources, references = group_references(pairs)
    outputs = [p.text for p in predictor.predict(sources, **search)]
    tokenize = predictor.config.evaluation.bleu_tokenize
    return {
        **score_outputs(outputs, references, bleu_tokenize=tokenize),
        "perplexity": evaluate_perplexity(predictor, pairs),
        "pairs": len(pairs),
        "sources": len(sources),
        "signatures": bleu_signature(references, bleu_tokenize=tokenize),
    }


def evaluate_perplexity(predictor: Predictor, pairs: Sequence[tuple[str, str]]) -> float:
    """exp of the mean negative log-probability of a target token."""
    forced = predictor.score(pairs, length_penalty="none")
    return perplexity(sum(p.score for p in forced), sum(len(p.tokens) for p in forced))


def evaluate_metric(predictor: Predictor, pairs: Sequence[tuple[str, str]]) -> float:
    """The one metric that the model is judged by, on greedy outputs."""
    metric = predictor.config.evaluation.metric
    if metric == "perplexity":
        return evaluate_perplexity(predictor, pairs)
    sources, references = group_references(pairs)
    outputs = [p.text for p in predictor.predict(sources, beam=1, n_best=1)]
    tokenize = predictor.config.evaluation.bleu_tokenize
    return metric_value(metric, outputs, references, bleu_tokenize=tokenize)
