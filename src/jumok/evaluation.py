"""How good a model is on pairs it has not seen: outputs judged, and perplexity.

References are brought to the form in which the target tokenizer writes (NFC; lower case and single
separators, if it knows no others), because no output could ever equal another form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jumok.config import SearchConfig
from jumok.errors import InputError
from jumok.metrics import (
    Items,
    bleu_signature,
    group_references,
    metric_value,
    perplexity,
    score_outputs,
    token_error_rate,
    try_metrics,
)
from jumok.predictor import OF_THE_MODEL, Predictor
from jumok.progress import Counted, Tell, counted
from jumok.text import unknown_rate

Pairs = Sequence[tuple[str, str]]

_LIMITS = ("max_length_ratio", "max_length_offset", "batch_size")
"""What greedy outputs keep of a model's search settings."""


def evaluate(predictor: Predictor, pairs: Pairs, **search: Any) -> dict[str, float]:
    """Every metric on ``pairs``; those with one source are one item with several references.

    One source is what the model reads as one, whatever its normal form, or its case with
    ``text.source.lowercase``.

    Keys: exact_match wer per cer bleu chrf ter (per cent) and perplexity (per target token, EOS
    counted, of every pair; not beside a language model, whose weighted sums are no probabilities).
    ``search`` are fields of `SearchConfig`. Raises `MissingExtra` without sacrebleu or rapidfuzz,
    and `InputError` where there is no pair, and, with its ``index``, for one whose source the model
    cannot take.
    """
    return evaluate_report(predictor, pairs, **search).scores


class Report(NamedTuple):
    """`evaluate`, and what one has to know to read it."""

    scores: dict[str, float]
    pairs: int
    sources: int
    """Different sources: as many outputs were judged."""
    unknown_source: float
    unknown_target: float
    """Share of tokens that the vocabulary lacks, in per cent. In the perplexity each counts as the
    one token ``<unk>`` unless it is copied, so models with unlike vocabularies, or with and without
    copying, cannot be compared by it."""
    signatures: dict[str, str]
    """sacrebleu's, of bleu, chrf and ter."""


def evaluate_report(
    predictor: Predictor,
    pairs: Pairs,
    bleu_tokenize: str | None = None,
    tell: Tell | None = None,
    **search: Any,
) -> Report:
    """Scores and circumstances; ``bleu_tokenize`` stands in for the model's own setting;
    ``tell`` is told how far the outputs have come, and then perplexity."""
    if not pairs:
        raise InputError("There must be pairs to judge the model by, but none came")
    tokenize = bleu_tokenize or predictor.config.evaluation.bleu_tokenize
    items = _items(predictor, pairs)
    sources, references, _ = items
    try_metrics(bleu_tokenize=tokenize)
    with items.told_by_pair():
        found = predictor.predict(sources, tell=counted(tell, "outputs"), **search)
    outputs = [p.text for p in found]
    scores = score_outputs(outputs, references, bleu_tokenize=tokenize)
    if predictor.judge is None:
        reading = {key: search[key] for key in ("batch_size", "max_source_length") if key in search}
        scores["perplexity"] = _perplexity(predictor, pairs, counted(tell, "perplexity"), **reading)
    return Report(
        scores,
        len(pairs),
        len(sources),
        100 * unknown_rate(predictor.source_tokenizer, sources),
        100 * unknown_rate(predictor.target_tokenizer, [target for _, target in pairs]),
        bleu_signature(references, bleu_tokenize=tokenize),
    )


class Validation(NamedTuple):
    """What a training wants to know of its model."""

    metric: float
    """The one that the model is judged by, on greedy outputs."""
    token_error: float | None
    """Edit distance of these from the target of every pair, in per cent of the targets' tokens,
    ``</s>`` counted; None where the metric is perplexity, which needs no outputs."""


def validate(predictor: Predictor, pairs: Pairs) -> Validation:
    """Judge a model that is being trained.

    Every pair that may be trained on (``data.max_source_length``) is judged, whatever the limit
    of later searches.
    """
    metric, config = predictor.config.evaluation.metric, predictor.config
    limit = max(config.data.max_source_length, config.search.max_source_length)
    if metric == "perplexity":
        return Validation(_perplexity(predictor, pairs, max_source_length=limit), None)
    sources, references, places = _items(predictor, pairs)
    greedy = {
        name: field.default
        for name, field in SearchConfig.model_fields.items()
        if name not in _LIMITS
    }
    found = predictor.predict(sources, **{**greedy, "max_source_length": limit})
    outputs = [p.text for p in found]
    tokenize = predictor.config.evaluation.bleu_tokenize
    value = metric_value(metric, outputs, references, bleu_tokenize=tokenize)
    written = predictor.target_tokenizer
    targets = written.encode_batch([target for _, target in pairs])
    # not the nearest of several references: with forced tokens, too, each pair stands for itself
    error = token_error_rate(
        [found[place].tokens for place in places], [[[*one.tokens, "</s>"]] for one in targets]
    )
    return Validation(value, error)


def _items(predictor: Predictor, pairs: Pairs) -> Items:
    read, written = predictor.source_tokenizer.normalise, predictor.target_tokenizer.comparable
    return group_references(((source, written(target)) for source, target in pairs), read)


def _perplexity(
    predictor: Predictor, pairs: Pairs, tell: Counted | None = None, **search: Any
) -> float:
    """exp of the mean negative log-probability of a target token."""
    forced = predictor.score(pairs, tell=tell, **OF_THE_MODEL, **search)
    return perplexity(
        sum(sum(p.token_log_probs) for p in forced), sum(len(p.tokens) for p in forced)
    )
