"""`compare`: from two systems and pairs to all that is said of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isinf
from typing import Any

from jumok.comparison.bootstrap import paired_scores
from jumok.comparison.buckets import Grouping, by_frequency, by_length
from jumok.comparison.report import Comparison, Example, Group, JudgedBucket, Right
from jumok.comparison.systems import (
    Pairs,
    System,
    Written,
    check_systems,
    have_perplexities,
    perplexities,
    read_all,
    write_all,
)
from jumok.config import EvaluationConfig
from jumok.errors import ConfigError, InputError
from jumok.metrics import METRICS, Summed, bleu_signature, summed, try_metrics
from jumok.progress import Tell


def compare(
    a: System,
    b: System,
    pairs: Pairs,
    *,
    names: tuple[str, str] = ("A", "B"),
    train: Iterable[str] | None = None,
    metric: str | None = None,
    bleu_tokenize: str | None = None,
    resamples: int = 1000,
    seed: int = 12345,
    examples: int = 3,
    tell: Tell | None = None,
    **search: Any,
) -> Comparison:
    """Judge two systems on ``pairs``; those with one source are one item with several references.

    Every metric of `evaluate` is there; perplexity only of two models with the same target tokens
    that both copy or both do not.

    Args:
        a: a model, or the outputs of any program: one for each different source, or for each pair.
        b: the other.
        pairs: sources and what should have been written.
        names: what messages and reports call the two.
        train: sources of training pairs, to group items by how often their words are there. They
            are counted as they come, once.
        metric: what the verdict and groups go by; else what A (or B) was validated by.
        bleu_tokenize: sacrebleu's tokenizer; else that of A's (or B's) configuration.
        resamples: draws of the bootstrap, 100 or more.
        seed: of the draws; the default is sacrebleu's.
        examples: items to show, at most, on which A is better, and on which B is.
        tell: told how far each model has come with its outputs, and with perplexity.
        search: fields of `SearchConfig`, for the models.

    Raises `ConfigError` for systems that cannot be compared, `InputError` for outputs that do not
    stand beside the pairs, and, with the pair's ``index``, for a source that a model cannot take.
    """
    if not pairs:
        raise InputError("There must be pairs to compare on, but none came")
    if resamples < 100 or seed < 0 or examples < 0:
        raise ConfigError(
            "A comparison has 100 resamples or more, and no seed or number of examples below 0, "
            f"but resamples={resamples}, seed={seed} and examples={examples} came"
        )
    models = check_systems((a, b), names, search)
    config = models[0].config.evaluation if models else EvaluationConfig()
    tokenize, metric = bleu_tokenize or config.bleu_tokenize, metric or config.metric
    surprised = have_perplexities(models)
    if metric not in (*METRICS, *(["perplexity"] if surprised else [])):
        raise ConfigError(
            f"The metric to go by must be one of {', '.join(METRICS)}, or perplexity for two "
            f"models with the same target tokens, but {metric} came. Set evaluation.metric"
        )
    # all that can be wrong with what is given is said before a model searches
    try_metrics(bleu_tokenize=tokenize)
    read = read_all((a, b), names, pairs)
    items = read.items
    signatures = bleu_signature(
        items.references, bleu_tokenize=tokenize, resamples=resamples, seed=seed
    )
    groupings = [by_length(items.sources)]
    if train is not None:
        groupings.append(by_frequency(items.sources, train))
    forced = perplexities(models, names, pairs, items, search, tell) if surprised else []
    infinite = [name for name, one in zip("ab", forced, strict=False) if isinf(one.whole)]
    if infinite and metric == "perplexity":
        raise ConfigError(
            f"The perplexity of {names['ab'.index(infinite[0])]} is infinite, as it takes one of "
            "the targets to be impossible. Go by another metric: set evaluation.metric"
        )
    written = write_all((a, b), names, read, search, tell)
    judged = _judge(written, tokenize)
    if forced and not infinite:
        for side, perplexity in zip(judged, forced, strict=True):
            side["perplexity"] = perplexity
    main = [{metric: side[metric]} for side in judged]
    a_better, b_better = _examples(written, judged)
    return Comparison(
        names=names,
        pairs=len(pairs),
        sources=len(items.sources),
        resamples=resamples,
        seed=seed,
        metric=metric,
        scores=paired_scores(judged[0], judged[1], resamples, seed),
        infinite=infinite,
        right=_right(judged),
        groups=[_group(grouping, main, resamples, seed) for grouping in groupings],
        a_better=a_better[:examples],
        b_better=b_better[:examples],
        signatures=signatures,
    )


def _judge(written: Written, bleu_tokenize: str) -> list[dict[str, Summed]]:
    return [
        {
            name: summed(name, outputs, written.items.references, bleu_tokenize=bleu_tokenize)
            for name in METRICS
        }
        for outputs in written.outputs
    ]


def _group(
    grouping: Grouping, main: Sequence[dict[str, Summed]], resamples: int, seed: int
) -> Group:
    """The main metric on each bucket, whose items are drawn from it alone."""
    judged = []
    for bucket in grouping.buckets:
        [score] = paired_scores(main[0], main[1], resamples, seed, bucket.items).values()
        judged.append(JudgedBucket(bucket, score))
    return Group(grouping, judged)


def _right(judged: Sequence[dict[str, Summed]]) -> Right:
    a, b = ([hit == 1 for hit, _ in side["exact_match"].rows] for side in judged)
    both = sum(x and y for x, y in zip(a, b, strict=True))
    return Right(both, sum(a) - both, sum(b) - both, len(a) - sum(a) - sum(b) + both)


def _examples(
    written: Written, judged: Sequence[dict[str, Summed]]
) -> tuple[list[Example], list[Example]]:
    """Items on which A is better, and on which B is: first where one is right and the other wrong,
    then by the difference in chrF."""
    right = [[hit for hit, _ in side["exact_match"].rows] for side in judged]
    scores = [side["chrf"] for side in judged]
    chrf = [[one.score([float(count) for count in row]) for row in one.rows] for one in scores]
    gains = [
        (b_right - a_right, b_chrf - a_chrf)
        for a_right, b_right, a_chrf, b_chrf in zip(*right, *chrf, strict=True)
    ]
    order = sorted(range(len(gains)), key=gains.__getitem__)

    def example(number: int) -> Example:
        a, b = (outputs[number] for outputs in written.outputs)
        references = written.items.references[number]
        return Example(
            written.items.sources[number], references, a, b, chrf[0][number], chrf[1][number]
        )

    a_better = [example(number) for number in order if gains[number] < (0, 0)]
    return a_better, [example(number) for number in reversed(order) if gains[number] > (0, 0)]
