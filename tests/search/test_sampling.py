"""What is drawn, and how often: against probabilities worked out token by token."""

from __future__ import annotations

import math

import numpy as np
import pytest
from asked import Asked, searches
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import WORDS, Toy

from jumok.search import Sampling, sample_search
from jumok.text import EOS

samplings = st.builds(
    Sampling,
    st.sampled_from([0.3, 1.0, 2.5]),
    st.one_of(st.none(), st.integers(1, 9)),
    st.sampled_from([0.05, 0.5, 0.9, 1.0]),
)


def generators(seed: int, outputs: int) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, number]) for number in range(outputs)]


def left(scores: dict[int, float], sampling: Sampling) -> dict[int, float]:
    """The probability of each token that may be drawn, by the definitions."""
    weights = {t: math.exp(s / sampling.temperature) for t, s in scores.items()}
    ordered = sorted(weights, key=lambda t: (-weights[t], t))[: sampling.top_k]
    whole, sum_, kept = sum(weights[t] for t in ordered), 0.0, []
    for token in ordered:
        kept.append(token)
        sum_ += weights[token] / whole
        if sum_ >= sampling.top_p:
            break
    rest = sum(weights[t] for t in kept)
    return {t: weights[t] / rest for t in kept}


def outputs(toy: Toy, asked: Asked, sampling: Sampling, before=()) -> dict[tuple[int, ...], float]:
    """Every output that may be drawn, with its probability."""
    log_probs, _ = toy.at(0, before)
    scores = {
        t: log_probs[t] * (asked.repetition if t in before else 1.0)
        for t in (EOS, *WORDS)
        if t != EOS or len(before) >= asked.least
    }
    found: dict[tuple[int, ...], float] = {}
    for token, p in left(scores, sampling).items():
        tokens = (*before, token)
        ends = token == EOS or len(tokens) == asked.max_lengths[0]
        after = {tokens: 1.0} if ends else outputs(toy, asked, sampling, tokens)
        found |= {whole: p * share for whole, share in after.items()}
    return found


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    sampling=samplings,
    least=st.integers(0, 2),
    repetition=st.sampled_from([1.0, 2.0]),
)
def test_outputs_come_as_often_as_they_are_probable(seed, sampling, least, repetition) -> None:
    """Each within six standard errors of its share, and nothing that may not come."""
    toy = Toy(seed, [2])
    asked = Asked([3], least=least, repetition=repetition)
    expected, size = outputs(toy, asked, sampling), 1500
    assert sum(expected.values()) == pytest.approx(1)
    [found] = sample_search(toy, toy.start(), asked.task(toy), sampling, [generators(seed, size)])
    drawn = [tuple(h.tokens.tolist()) for h in found]
    assert len(drawn) == size and set(drawn) <= set(expected)
    for tokens, p in expected.items():
        error = math.sqrt(p * (1 - p) / size) + 1 / size
        assert abs(drawn.count(tokens) / size - p) < 6 * error
    for h in found[:5]:
        assert h.score == pytest.approx(asked.worth(toy, 0, h.tokens.tolist()))
        steps = [toy.at(0, h.tokens[:n])[0][t] for n, t in enumerate(h.tokens)]
        assert h.token_log_probs == pytest.approx(steps)


@settings(max_examples=40, deadline=None)
@given(search=searches(), sampling=samplings, seed=st.integers(0, 99), data=st.data())
def test_every_output_is_drawn_by_itself(search, sampling, seed, data) -> None:
    """Neither the other sources, nor padding, nor how many are drawn change it."""
    toy, asked = search
    asked = asked._replace(required=())
    several = [generators(seed + source, 3) for source in range(len(toy.lengths))]
    together = sample_search(toy, toy.start(), asked.task(toy), sampling, several)
    for source, length in enumerate(toy.lengths):
        alone = Toy(toy.seed, [length], toy.heads, data.draw(st.integers(0, 2)))
        prefixes = None if asked.prefixes is None else [asked.prefixes[source]]
        of_one = asked._replace(max_lengths=[asked.max_lengths[source]], prefixes=prefixes)
        [found] = sample_search(
            alone, alone.start(), of_one.task(alone), sampling, [generators(seed + source, 2)]
        )
        assert [h.tokens.tolist() for h in found] == [
            h.tokens.tolist() for h in together[source][: len(found)]
        ]
        for h in found:
            assert asked.allows(source, h.tokens.tolist())


def test_the_most_probable_token_alone_is_greedy_search() -> None:
    from jumok.search import greedy_search

    toy = Toy(5, [3, 1])
    task = Asked([5, 4]).task(toy)
    greedy = greedy_search(toy, toy.start(), task)
    for sampling in (Sampling(top_k=1), Sampling(top_p=1e-9), Sampling(temperature=1e-3)):
        drawn = sample_search(toy, toy.start(), task, sampling, [generators(1, 1)] * 2)
        assert [h.tokens.tolist() for [h] in drawn] == [h.tokens.tolist() for [h] in greedy]
