"""Every option of a search, and any of them together, against all outputs there are."""

from __future__ import annotations

import numpy as np
import pytest
from asked import Asked, searches
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import Toy, text

from jumok.search import beam_search, greedy_search
from jumok.text import EOS


@settings(max_examples=150, deadline=None)
@given(search=searches(), n_best=st.integers(1, 5), by_text=st.booleans())
def test_a_wide_beam_finds_the_best_outputs_there_are(search, n_best, by_text) -> None:
    toy, asked = search
    same = text if by_text else bytes
    key = lambda tokens, source: same(tokens)  # noqa: E731
    found = beam_search(toy, toy.start(), asked.task(toy), 2000, n_best, same=key)
    for source, hypotheses in enumerate(found):
        expected, known = [], set()
        for tokens, worth in asked.outputs(toy, source):
            if same(tokens) not in known:
                known.add(same(tokens))
                expected.append((tokens, worth))
        expected = expected[:n_best]
        assert [h.score for h in hypotheses] == pytest.approx([worth for _, worth in expected])
        assert [h.tokens.tolist() for h in hypotheses] == [tokens for tokens, _ in expected]
        for h in hypotheses:
            assert h.finished == (h.tokens[-1] == EOS)
            _evidence_is_that_of(toy, source, h)


def _evidence_is_that_of(toy: Toy, source: int, h) -> None:
    for place, token in enumerate(h.tokens):
        log_probs, weights = toy.at(source, h.tokens[:place])
        assert h.token_log_probs[place] == pytest.approx(log_probs[token])
        shown = h.evidence.attention[place]
        real = toy.lengths[source]
        np.testing.assert_allclose(shown[..., :real], weights if toy.heads else weights[0])
        assert not shown[..., real:].any()


@settings(max_examples=60, deadline=None)
@given(search=searches())
def test_greedy_search_is_a_beam_of_one(search) -> None:
    toy, asked = search
    task = asked._replace(required=[]).task(toy)  # a beam goes after what is required
    one, other = greedy_search(toy, toy.start(), task), beam_search(toy, toy.start(), task, 1)
    for mine, theirs in zip(one, other, strict=True):
        assert [h.tokens.tolist() for h in mine] == [h.tokens.tolist() for h in theirs]
        assert [h.score for h in mine] == pytest.approx([h.score for h in theirs])


@settings(max_examples=60, deadline=None)
@given(
    search=searches(), beam=st.integers(1, 6), groups=st.sampled_from([1, 1, 2, 3]), data=st.data()
)
def test_what_stands_beside_a_source_changes_nothing(search, beam, groups, data) -> None:
    toy, asked = search
    beam, padding = beam * groups, data.draw(st.integers(0, 3))
    n_best = data.draw(st.integers(1, beam))
    options = (beam, n_best, groups, 0.5 * (groups > 1))
    together = beam_search(toy, toy.start(), asked.task(toy), *options)
    for source, length in enumerate(toy.lengths):
        alone = Toy(toy.seed, [length], toy.heads, padding)
        prefixes = None if asked.prefixes is None else [asked.prefixes[source]]
        of_one = asked._replace(max_lengths=[asked.max_lengths[source]], prefixes=prefixes)
        [found] = beam_search(alone, alone.start(), of_one.task(alone), *options)
        assert [h.tokens.tolist() for h in found] == [h.tokens.tolist() for h in together[source]]
        assert [h.score for h in found] == pytest.approx([h.score for h in together[source]])


@settings(max_examples=60, deadline=None)
@given(search=searches(), beam=st.integers(1, 8))
def test_whatever_is_given_out_is_what_was_asked_for(search, beam) -> None:
    toy, asked = search
    for source, found in enumerate(beam_search(toy, toy.start(), asked.task(toy), beam, beam)):
        for h in found:
            assert asked.allows(source, h.tokens.tolist())
            assert h.score == pytest.approx(asked.worth(toy, source, h.tokens.tolist()))


def test_rows_leave_the_batch_when_their_outputs_end() -> None:
    toy = Toy(0, [1, 2, 3, 4])
    greedy_search(toy, toy.start(), Asked([1, 2, 3, 4], least=10).task(toy))
    assert toy.rows == 4 + 3 + 2 + 1
