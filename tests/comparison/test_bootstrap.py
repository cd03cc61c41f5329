"""The paired bootstrap, against loops over resampled texts and against sacrebleu's own test."""

from __future__ import annotations

import random

import numpy as np
import pytest
import sacrebleu
from sacrebleu.significance import PairedTest

from jumok.comparison import bootstrap
from jumok.comparison.bootstrap import p_value, paired_scores
from jumok.config import LOWER_IS_BETTER
from jumok.metrics import METRICS, metric_value, summed, summed_perplexity

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "and", "saw"]


def corpus(items: int, seed: int = 0) -> tuple[list[str], list[str], list[list[str]]]:
    """Outputs of a bad system and of a better one, and one to three references for each."""
    draw = random.Random(seed)
    references = [
        [" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(draw.randint(1, 3))]
        for _ in range(items)
    ]

    def spoilt(text: str, share: float) -> str:
        return " ".join(draw.choice(WORDS) if draw.random() < share else w for w in text.split())

    a = [spoilt(refs[0], 0.3) for refs in references]
    return a, [spoilt(refs[-1], 0.2) for refs in references], references


def sums(outputs, references):
    return {name: summed(name, outputs, references) for name in METRICS}


@pytest.mark.parametrize("name", METRICS)
def test_figures_equal_a_loop_over_resampled_texts(name):
    a, b, references = corpus(12)
    resamples, seed = 80, 7
    scores: list[list[float]] = [[], []]
    for drawn in np.random.default_rng(seed).choice(12, size=(resamples, 12)):
        for outputs, found in zip((a, b), scores, strict=True):
            texts = [outputs[i] for i in drawn]
            found.append(metric_value(name, texts, [references[i] for i in drawn]))
    differences = [y - x for x, y in zip(*scores, strict=True)]
    whole = [metric_value(name, outputs, references) for outputs in (a, b)]
    observed = whole[1] - whole[0]

    mean = sum(map(abs, differences)) / resamples
    extreme = sum(abs(d) - mean >= abs(observed) for d in differences)
    lower = name in LOWER_IS_BETTER
    bounds = [(sorted(s)[2], sorted(s)[77]) for s in (*scores, differences)]  # 80 // 40 cut off

    result = paired_scores(sums(a, references), sums(b, references), resamples, seed)[name]
    assert result.p == pytest.approx((extreme + 1) / 81)
    assert result.b_wins == sum((d < 0) if lower else (d > 0) for d in differences)
    assert result.a_wins == sum((d > 0) if lower else (d < 0) for d in differences)
    estimates = (result.a, result.b, result.difference)
    for estimate, value, bound in zip(estimates, (*whole, observed), bounds, strict=True):
        assert estimate == pytest.approx((value, *bound))


@pytest.mark.parametrize("seed", [12345, 1])
def test_ngram_metrics_equal_sacrebleus_paired_test(monkeypatch, seed):
    monkeypatch.setenv("SACREBLEU_SEED", str(seed))
    a, b, references = corpus(60, seed)
    streams = [[refs[i] if i < len(refs) else None for refs in references] for i in range(3)]
    metrics = {"BLEU": sacrebleu.BLEU(), "chrF": sacrebleu.CHRF(), "TER": sacrebleu.TER()}
    test = PairedTest([("a", a), ("b", b)], metrics, streams, test_type="bs", n_samples=200)
    _, theirs = test()
    ours = paired_scores(sums(a, references), sums(b, references), 200, seed)
    for key, name in (("BLEU", "bleu"), ("chrF2", "chrf"), ("TER", "ter")):
        baseline, other = theirs[key]
        result = ours[name]
        assert result.p == other.p_value
        assert (result.a.value, result.b.value) == pytest.approx((baseline.score, other.score))
        halves = [(side.high - side.low) / 2 for side in (result.a, result.b)]
        assert halves == pytest.approx([baseline.ci, other.ci], abs=1e-3)


def test_a_system_is_no_better_than_itself():
    a, _, references = corpus(30)
    perplexity = summed_perplexity([-float(len(text)) / 3 for text in a], [len(t) for t in a])
    side = {**sums(a, references), "perplexity": perplexity}
    for result in paired_scores(side, dict(side), 100, 0).values():
        assert result.a == result.b
        assert result.difference == (0.0, 0.0, 0.0)
        assert (result.p, result.a_wins, result.b_wins, result.better) == (1.0, 0, 0, None)


def test_with_sides_changed_the_signs_change():
    a, b, references = corpus(60)
    one = paired_scores(sums(a, references), sums(b, references), 100, 0)
    other = paired_scores(sums(b, references), sums(a, references), 100, 0)
    turned = {"a": "b", "b": "a", None: None}
    for name in METRICS:
        x, y = one[name], other[name]
        assert (x.a, x.b, x.p) == (y.b, y.a, y.p)
        assert (x.a_wins, x.b_wins, turned[x.better]) == (y.b_wins, y.a_wins, y.better)
        value, low, high = y.difference
        assert x.difference == (-value, -high, -low)


def test_a_clear_difference_is_told_and_the_better_one_named():
    _, _, references = corpus(100)
    good, bad = [refs[0] for refs in references], ["x"] * 100
    for name, result in paired_scores(
        sums(bad, references), sums(good, references), 200, 0
    ).items():
        assert (result.p, result.better, result.b_wins) == (1 / 201, "b", 200), name


def test_a_small_p_alone_makes_nobody_better():
    # of 80 items B alone is right on 14, and A on 6: 1.8 standard errors
    a = summed("exact_match", ["x"] * 66 + ["y"] * 14, [["x"]] * 80)
    b = summed("exact_match", ["y"] * 6 + ["x"] * 74, [["x"]] * 80)
    result = paired_scores({"exact_match": a}, {"exact_match": b}, 1000, 1)["exact_match"]
    assert result.difference.value == 10
    assert result.p < 0.05
    assert result.difference.low <= 0
    assert result.better is None


def test_of_few_items_no_system_is_better():
    for items, better in ((49, None), (50, "b")):
        a, b = ({"wer": summed("wer", [text] * items, [["x"]] * items)} for text in "yx")
        assert paired_scores(a, b, 100, 0)["wer"].better == better
    assert paired_scores(a, b, 100, 0, range(49))["wer"].better is None


def test_draws_do_not_depend_on_how_many_are_held_in_memory(monkeypatch):
    a, b, references = corpus(30)
    whole = paired_scores(sums(a, references), sums(b, references), 100, 3)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 30 * 7)
    assert paired_scores(sums(a, references), sums(b, references), 100, 3) == whole


def test_p_by_hand():
    # sizes 1 3 2 0 have the mean 1.5; two of them, 3 and 2, are 0.5 or more above it
    assert p_value(np.array([-1.0, 3.0, 2.0, 0.0]), -0.5) == pytest.approx(3 / 5)
