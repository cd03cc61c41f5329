"""Narrow beams, groups and banks against a beam search with one object for every hypothesis."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from asked import Asked, searches
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import WORDS, Toy, text

from jumok.search import beam_search
from jumok.search.beam import _top
from jumok.text import EOS


@dataclass
class Partial:
    tokens: list[int]
    total: float


def slow_beam_search(toy, asked, source, beam, n_best, groups, diversity, same):
    """Step by step, group by group, as it is described; it never stops early."""
    longest = asked.max_lengths[source]
    live = [[Partial([], 0.0)] for _ in range(groups)]
    done: list[list[tuple[list[int], float]]] = [[] for _ in range(groups)]
    for length in range(1, longest + 1):
        chosen: Counter[int] = Counter()
        for group in range(groups):
            room = beam // groups - len(done[group])
            found = candidates(toy, asked, source, live[group], room, diversity, chosen)
            live[group] = []
            for partial in found:
                last = partial.tokens[-1]
                chosen[last] += 1
                if last == EOS or (length == longest and asked.allows(source, partial.tokens)):
                    worth = asked.worth(toy, source, partial.tokens)
                    done[group].append((partial.tokens, worth))
                elif length < longest:
                    live[group].append(partial)
    ranked = []
    for some in done:
        some.sort(key=lambda one: (one[0][-1] != EOS, -one[1]))
        ranked += [(t[-1] != EOS, n if groups > 1 else 0, -w, t) for n, (t, w) in enumerate(some)]
    kept: dict[object, tuple[list[int], float]] = {}
    for _, _, worth, tokens in sorted(ranked, key=lambda one: one[:3]):
        kept.setdefault(same(np.array(tokens)), (tokens, -worth))
    return list(kept.values())[:n_best]


def candidates(toy, asked, source, live, room, diversity, chosen) -> list[Partial]:
    """Those that a beam with so much room goes on with."""
    found = []  # (level, liking, parent, Partial)
    for number, partial in enumerate(live):
        log_probs, _ = toy.at(source, partial.tokens)
        for token in (EOS, *WORDS):
            tokens = [*partial.tokens, token]
            if not may_be_begun(asked, source, tokens):
                continue
            again = asked.repetition if token in partial.tokens else 1.0
            score = log_probs[token] * again
            liking = partial.total + score - diversity * chosen[token]
            made = Partial(tokens, partial.total + score)
            found.append((level(asked, tokens), liking, number, made))
    order = lambda one: (-one[1], one[2], one[3].tokens[-1])  # noqa: E731
    if asked.required:
        banks: dict[int, list] = {}
        for one in sorted(found, key=order):
            banks.setdefault(one[0], []).append(one)
        ranked = [(n, -one[0], one) for bank in banks.values() for n, one in enumerate(bank)]
        found = [one for _, _, one in sorted(ranked, key=lambda r: r[:2])]
    else:
        found.sort(key=order)
    return [one[3] for one in found[:room]]


def may_be_begun(asked: Asked, source: int, tokens: list[int]) -> bool:
    """Whether no rule is broken by what there is, whatever comes after."""
    if tokens[-1] == EOS:
        return asked.allows(source, tokens)
    unbounded = asked._replace(least=0, required=[], prefixes=None, choices=None)
    said, body = text(tokens), [WORDS[t] for t in tokens]
    prefix = "" if asked.prefixes is None else asked.prefixes[source]
    return (
        unbounded.allows(source, tokens)
        and (said.startswith(prefix) or prefix.startswith(said))
        and (asked.choices is None or any(list(c)[: len(body)] == body for c in asked.choices))
    )


def level(asked: Asked, tokens: list[int]) -> int:
    """Letters of the required phrases that are there."""
    said = text(tokens)
    return sum(
        len(phrase)
        if phrase in said
        else max(n for n in range(len(phrase)) if said.endswith(phrase[:n]))
        for phrase in asked.required
    )


@settings(max_examples=200, deadline=None)
@given(search=searches(), data=st.data())
def test_it_is_beam_search(search, data) -> None:
    toy, asked = search
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    beam = groups * data.draw(st.integers(1, 5))
    n_best = data.draw(st.integers(1, beam))
    diversity = data.draw(st.sampled_from([0.0, 0.4, 3.0])) if groups > 1 else 0.0
    same = text if data.draw(st.booleans()) else bytes
    options = (beam, n_best, groups, diversity)
    found = beam_search(
        toy, toy.start(), asked.task(toy), *options, lambda tokens, source: same(tokens)
    )
    for source, hypotheses in enumerate(found):
        expected = slow_beam_search(toy, asked, source, *options, same)
        assert [h.tokens.tolist() for h in hypotheses] == [tokens for tokens, _ in expected]
        assert [h.score for h in hypotheses] == pytest.approx([worth for _, worth in expected])


def test_groups_make_outputs_differ() -> None:
    """The more diversity, the fewer tokens in common at equal places."""

    def in_common(diversity: float) -> float:
        shared = 0
        for seed in range(30):
            toy = Toy(seed, [3])
            task = Asked([6], least=6).task(toy)
            [found] = beam_search(toy, toy.start(), task, 3, 3, groups=3, diversity=diversity)
            one, other, third = ([h.tokens for h in found] * 3)[:3]  # equal ones come once
            shared += (one == other).sum() + (one == third).sum() + (other == third).sum()
        return shared / 30

    assert in_common(0.1) > 2 * in_common(2.0)


def test_a_beam_of_one_writes_what_is_required() -> None:
    for seed in range(20):
        toy = Toy(seed, [2])
        task = Asked([8], required=["bab", "aa"]).task(toy)
        [[found]] = beam_search(toy, toy.start(), task, 1)
        assert "bab" in text(found.tokens) and "aa" in text(found.tokens)


@given(
    tokens=st.integers(1, 900),
    width=st.integers(1, 6),
    distinct=st.integers(1, 10**6),
    impossible=st.floats(0, 1),
    seed=st.integers(0, 10**6),
)
@settings(deadline=None)
def test_the_best_of_many_tokens_are_those_of_sorting(tokens, width, distinct, impossible, seed):
    """Also where many are equal, or impossible, or there is hardly anything to choose from."""
    draw = np.random.default_rng(seed)
    scores = -draw.integers(1, distinct + 1, (3, tokens)).astype(float)
    scores[draw.random(scores.shape) < impossible] = -np.inf
    width = min(width, tokens)
    row, token = _top(scores, width)
    assert len({*zip(row.tolist(), token.tolist(), strict=True)}) == len(row)
    for number, of_row in enumerate(scores):
        best = np.sort(of_row)[-width:]
        np.testing.assert_array_equal(
            np.sort(scores[number, token[row == number]]), best[np.isfinite(best)]
        )
