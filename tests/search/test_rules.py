"""Single rules by hand, and automata against what Python finds in strings."""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from toy import SPELLING, WORDS, text, units

from jumok.config import SearchConfig
from jumok.search import (
    Guide,
    Spelling,
    avoids,
    begins,
    contains,
    coverage_penalty,
    length_penalty,
    no_repeat_ngram,
    normal,
    one_of,
    repetition_penalty,
)
from jumok.search.automaton import Automaton
from jumok.text import EOS

letters = st.text(alphabet="ab ", min_size=1, max_size=4)
SPACED = Spelling(np.array([[-1, -1]] * 4 + [[97, -1], [98, -1], [32, 97], [32, 98]]))


def run(guide: Guide, tokens: list[int], source: int = 0, batch: int = 1) -> bool:
    """Whether every token is allowed, and EOS after them."""
    state = guide.start(batch)[source : source + 1]
    for token in [*tokens, EOS]:
        after = guide.next(state, np.array([source]), len(SPELLING.vocabulary))
        if after[0, token] < 0:
            return False
        state = after[:, token]
    return True


tokens = st.lists(st.sampled_from(list(WORDS)), max_size=6)


@given(phrase=letters.filter(str.strip), written=tokens)
def test_contains_is_in(phrase: str, written: list[int]) -> None:
    assert run(Guide(contains(units(phrase)), SPELLING), written) == (phrase in text(written))


@given(phrases=st.lists(letters, min_size=1, max_size=4), written=tokens)
def test_avoids_is_not_in(phrases: list[str], written: list[int]) -> None:
    guide = Guide(avoids([units(phrase) for phrase in phrases]), SPELLING)
    assert run(guide, written) == (not any(phrase in text(written) for phrase in phrases))


@given(prefixes=st.lists(st.text("ab", max_size=3), min_size=1, max_size=3), written=tokens)
def test_begins_is_startswith_for_each_source(prefixes: list[str], written: list[int]) -> None:
    guide = Guide(begins([units(prefix) for prefix in prefixes]), SPELLING)
    for source, prefix in enumerate(prefixes):
        assert run(guide, written, source, len(prefixes)) == text(written).startswith(prefix)


def test_what_would_join_the_prefix_may_not_follow_it() -> None:
    guide = Guide(begins([units("ab"), []], barred=[units("a"), []]), SPELLING)
    said = {(4, 5): True, (4, 5, 4): False, (6, 5, 4): True, (4, 7): False, (): False}
    assert {tokens: run(guide, list(tokens), 0, 2) for tokens in said} == said
    assert run(guide, [4, 5, 4], 1, 2)


def test_nor_what_would_join_it_over_a_mark() -> None:
    a, b = units("a"), units("b")
    guide = Guide(begins([a], barred=[a], marks=[b]), SPELLING)
    said = {(4, 5): True, (4, 5, 5): True, (4, 4): False, (4, 5, 4): False, (4, 5, 5, 4): False}
    assert {tokens: run(guide, list(tokens), 0, 1) for tokens in said} == said


@given(outputs=st.lists(tokens, min_size=1, max_size=5), written=tokens)
def test_one_of_is_in_the_list(outputs: list[list[int]], written: list[int]) -> None:
    guide = Guide(one_of(outputs), Spelling(np.arange(len(SPELLING.vocabulary))[:, None]))
    assert run(guide, written) == (written in outputs)
    assert all(run(guide, output) for output in outputs)


@given(phrase=letters, written=tokens)
def test_the_space_before_the_first_word_is_no_part_of_the_text(
    phrase: str, written: list[int]
) -> None:
    spelt = {4: "a", 5: "b", 6: " a", 7: " b"}
    said = "".join(spelt[t] for t in written).removeprefix(" ")
    skip = ord(" ")
    assert run(Guide(contains(units(phrase), skip), SPACED), written) == (phrase in said)
    assert run(Guide(avoids([units(phrase)], skip), SPACED), written) == (phrase not in said)
    start = Guide(begins([units(phrase.lstrip())], skip), SPACED)
    assert run(start, written) == said.startswith(phrase.lstrip())


MARKED = "aeǵ가간간\u0301\u0316\u0327\u0300क\u09c7\u09be\u093c>\u0338 "
"""Letters, marks that join them or change places, marks of class 0, letters of syllables."""


@functools.cache
def watching(form: str) -> Automaton:
    found = normal((ord(c) for c in MARKED if unicodedata.is_normalized(form, c)), form)
    assert found is not None
    return found


@given(st.text(alphabet=MARKED, max_size=8), st.sampled_from(["NFC", "NFD"]))
@example("e\u0316\u0301", "NFC")
@example("e\u0301\u0301", "NFC")
@example("\u0301\u0316", "NFD")
@example("간", "NFC")
def test_normal_is_what_unicode_says(said: str, form) -> None:
    pieces = [c for c in said if unicodedata.is_normalized(form, c)]
    cuts = [pieces, ["".join(pieces)] if pieces else []]
    for cut in cuts:  # as a token for each letter, and as one token
        spelt = np.full((4 + len(cut), 8), -1)
        for row, piece in zip(spelt[4:], cut, strict=True):
            row[: len(piece)] = list(map(ord, piece))
        guide = Guide(watching(form), Spelling(spelt))
        state = np.zeros(1, dtype=int)
        for token in range(4, len(spelt)):
            state = guide.next(state, np.array([0]), len(spelt))[:, token]
            if state[0] < 0:
                break
        assert (state[0] >= 0) == unicodedata.is_normalized(form, "".join(pieces))


def test_letters_without_marks_need_no_watching() -> None:
    assert normal(map(ord, "abéㅏ가 나"), "NFC") is None


def test_tokens_that_a_source_lets_be_copied_have_letters_too() -> None:
    extra = np.array([[[97, 98, 97]], [[98, 98, -1]]])
    spelling = Spelling(SPELLING.vocabulary, extra)
    guide, size = Guide(contains(units("bab")), spelling), len(SPELLING.vocabulary)
    assert guide.leads and not Guide(avoids([units("b")]), spelling).leads
    # after "b", source 0 may copy "aba" and has "bab" in "baba"; source 1 copies "bb"
    state = guide.next(guide.start(2), np.array([0, 1]), size + 1)[:, 5]
    after = guide.next(state, np.array([0, 1]), size + 1)
    assert after[:, size].tolist() == [3, 1]
    assert guide.accepts(after[:, size]).tolist() == [True, False]
    # without their letters they are refused, because nothing is known of them
    plain = Guide(contains(units("bab")), SPELLING)
    assert (plain.next(plain.start(1), np.array([0]), size + 2)[0, size:] == -1).all()


def test_ngrams_that_come_again() -> None:
    written = np.array([[4, 5, 4, 5], [4, 4, 4, 4], [5, 4, 6, 4]])
    scores = np.zeros((3, 8))
    no_repeat_ngram(2)(scores, written)
    assert [np.flatnonzero(np.isneginf(row)).tolist() for row in scores] == [[4], [4], [6]]
    scores = np.zeros((3, 8))
    no_repeat_ngram(1)(scores, written)
    assert [np.flatnonzero(np.isneginf(row)).tolist() for row in scores] == [[4, 5], [4], [4, 5, 6]]
    scores = np.zeros((3, 8))
    no_repeat_ngram(5)(scores, written)
    assert not scores.any()


def test_a_token_is_penalised_once_however_often_it_was_written() -> None:
    scores = np.full((2, 6), -1.0)
    repetition_penalty(3.0)(scores, np.array([[4, 4, 5], [5, 5, 5]]))
    assert scores.tolist() == [[-1, -1, -1, -1, -3, -3], [-1, -1, -1, -1, -1, -3]]


def test_penalties_by_hand() -> None:
    """Wu et al. 2016, eq. 14."""
    gnmt = length_penalty(SearchConfig(length_penalty="gnmt", length_alpha=0.5))
    assert gnmt(np.array([1, 19])).tolist() == [1.0, 2.0]
    seen = np.array([[0.5, 2.0, 0.0], [1.0, 0.25, 0.0]])
    penalty = coverage_penalty(2.0, np.arange(3) < [[3], [2]])
    found = penalty(seen, np.array([1, 1]))
    assert found == pytest.approx([2 * np.log(0.5), 2 * np.log(0.25)])
    assert penalty(seen, np.array([0, 0]))[0] == pytest.approx(2 * (np.log(0.5) + np.log(1e-9)))
