"""Tokens merged to characters and words: by hand, and against the definition."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jumok.config import TokenizerConfig
from jumok.explain import AttentionMap, group, merge
from jumok.text import train_tokenizer

TEXTS = ["각 나라 the cats", "the cat 가나다", "a é 한국어 ▁x", "x  y"]
LETTERS = "abcx é각나한국어 ▁\u3000\t\u0301q"
texts = st.text(alphabet=LETTERS, max_size=12)
KINDS = ["char", "jamo", "word", "bpe", "unigram"]
TOKENIZERS = {
    kind: train_tokenizer(TEXTS, TokenizerConfig(kind=kind, vocab_size=60)) for kind in KINDS
}


def names(text, offsets, units):
    """The units as texts, and the unit of each token."""
    found = group(text, offsets, units)
    return [text[a:b] for a, b in found.spans], found.of_token


def test_the_letters_of_a_syllable_are_one_character():
    tokenizer = TOKENIZERS["jamo"]
    encoding = tokenizer.encode("각 가")
    assert len(encoding.ids) == 6  # ㄱㅏㄱ, a space, ㄱㅏ
    assert names("각 가", encoding.offsets, "character") == (["각", " ", "가"], [0, 0, 0, 1, 2, 2])
    assert names("각 가", encoding.offsets, "word") == (["각", "가"], [0, 0, 0, 1, 1, 1])


def test_syllables_that_were_typed_as_letters():
    text = unicodedata.normalize("NFD", "각가")
    encoding = TOKENIZERS["jamo"].encode(text)
    found, of_token = names(text, encoding.offsets, "character")
    assert [unicodedata.normalize("NFC", unit) for unit in found] == ["각", "가"]
    assert of_token == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    "characters",
    [
        ["नि", "नि"],  # a vowel sign of combining class 0
        ["ที่", "นี้", "กำ"],  # Thai vowels and tones, and a vowel that is no mark
        ["ᄒᆞᆫ", "글"],  # an old syllable, which has no code point of its own
        ["ᄀ\ud7b0ᆨ", "ꥠᅡ\u302e"],  # letters of the extended blocks, and a tone
        ["👍🏽", "👍"],
        ["👩\u200d👩\u200d👧", "👧"],
        ["🇰🇷", "🇯🇵"],
        ["❤\ufe0f", "1\ufe0f\u20e3"],
        ["a\u0301\u0323", "q\u0301", "e"],
        ["\r\n", "\t\u0301"],  # a mark cannot stand alone, whatever is before it
        ["\ud800", "a", "\udfff"],
    ],
)
def test_what_readers_count_as_one_is_one_character(characters):
    """By the rules of Unicode Standard Annex 29, applied by hand, but for marks of controls."""
    text = "".join(characters)
    each = [(i, i + 1) for i in range(len(text))]
    found, of_token = names(text, each, "character")
    assert found == characters
    assert of_token == [i for i, one in enumerate(characters) for _ in one]


@pytest.mark.parametrize(
    ("text", "offsets", "units", "found", "of_token"),
    [
        # ▁the ▁cat s, as subwords lie in a text
        ("the cats", [(0, 3), (3, 7), (7, 8)], "word", ["the", "cats"], [0, 1, 1]),
        # a larger token is not cut into characters
        ("the cats", [(0, 3), (3, 7), (7, 8)], "character", ["the", " cat", "s"], [0, 1, 2]),
        # a ▁ before the first word that stands for no space; and white space between words
        ("ab", [(0, 0), (0, 1), (1, 2)], "word", ["ab"], [0, 0, 0]),
        ("ab", [(0, 0), (0, 1), (1, 2)], "character", ["a", "b"], [0, 0, 1]),
        ("a  b ", [(i, i + 1) for i in range(5)], "word", ["a", "b"], [0, 1, 1, 1, 1]),
        (" a", [(0, 1), (1, 2)], "word", ["a"], [0, 0]),
        # separators that no token covers, and a token of two words
        ("a|new york|b", [(0, 1), (2, 10), (11, 12)], "word", ["a|new york|b"], [0, 0, 0]),
        ("a / new york", [(0, 1), (4, 12)], "word", ["a", "new york"], [0, 1]),
        ("K AE T", [(0, 1), (2, 4), (5, 6)], "character", ["K", "AE", "T"], [0, 1, 2]),
        # nothing, or nothing but white space
        ("", [], "word", [], []),
        ("", [(0, 0)], "word", [""], [0]),
        ("  ", [(0, 1), (1, 2)], "word", ["  "], [0, 0]),
    ],
)  # fmt: skip
def test_by_hand(text, offsets, units, found, of_token):
    assert names(text, offsets, units) == (found, of_token)


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts)
def test_words_are_what_stands_between_white_space(kind, text):
    words = text.split()
    offsets = TOKENIZERS[kind].encode(text).offsets
    found, of_token = names(text, offsets, "word")
    if words:
        # a subword may hold any white space but a space, and is not cut
        if kind not in ("bpe", "unigram") or not {"▁", "\t", "\u3000"} & {*text}:
            assert found == words
        assert sorted(set(of_token)) == list(range(len(found)))
    assert of_token == sorted(of_token)  # in the text's order
    for (start, end), unit in zip(offsets, of_token, strict=True):
        covered = set(range(start, end)) & {i for i, char in enumerate(text) if not char.isspace()}
        a, b = group(text, offsets, "word").spans[unit]
        assert covered <= set(range(a, b))


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts)
def test_characters_cut_no_token_and_words_no_character(kind, text):
    offsets = TOKENIZERS[kind].encode(text).offsets
    chars, words = (group(text, offsets, unit).of_token for unit in ("character", "word"))
    assert len(set(zip(chars, words, strict=True))) == len(set(chars))  # each is in one word
    if kind in ("char", "jamo"):
        nfc = unicodedata.normalize("NFC", text)
        marks = sum(1 for i, c in enumerate(nfc) if i and unicodedata.combining(c))
        assert len(set(chars)) == len(nfc) - marks


def a_map(text, target, seed, end=True):
    """Random attention between the tokens of two texts."""
    chance = np.random.default_rng(seed)
    source = TOKENIZERS["bpe"].encode(text)
    written = TOKENIZERS["jamo"].encode(target)
    ends = ["</s>"] if end else []
    shape = len(written.ids) + end, len(source.ids) + end
    weights = chance.dirichlet(np.ones(max(shape[1], 1)), shape[0])[:, : shape[1]]
    log_probs = np.log(chance.uniform(0.1, 1, shape[0])).tolist()
    attention = AttentionMap(
        [*source.tokens, *ends], [*written.tokens, *ends], weights, text, target, log_probs, -1.0
    )
    return attention, source.offsets, written.offsets


@pytest.mark.paper
@pytest.mark.parametrize("units", ["token", "character", "word"])
@settings(max_examples=60)
@given(text=texts, target=texts, seed=st.integers(0, 99), end=st.booleans())
def test_attention_to_is_summed_and_attention_from_averaged(units, text, target, seed, end):
    """Clark et al. 2019, section 4.1."""
    attention, source_offsets, offsets = a_map(text, target, seed, end)
    merged = merge(attention, source_offsets, offsets, units)
    columns, rows = (group(t, o, units).of_token for t, o in
                     ((text, source_offsets), (target, offsets)))  # fmt: skip
    columns = [*columns, max(columns, default=-1) + 1] if end else columns
    rows = [*rows, max(rows, default=-1) + 1] if end else rows
    assert merged.weights.shape == (len(set(rows)), len(set(columns)))
    for row in set(rows):
        members = [i for i, unit in enumerate(rows) if unit == row]
        for column in set(columns):
            total = sum(
                attention.weights[i, j]
                for i in members
                for j, unit in enumerate(columns)
                if unit == column
            )
            assert merged.weights[row, column] == pytest.approx(total / len(members))
        assert merged.token_log_probs[row] == pytest.approx(
            sum(attention.token_log_probs[i] for i in members)
        )
    if columns:
        np.testing.assert_allclose(merged.weights.sum(axis=1), 1)
    assert (merged.source_text, merged.target_text, merged.score) == (text, target, -1.0)
    assert (list(merged.source_tokens[-1:]) == ["</s>"]) == end


def test_tokens_stay_as_they_are():
    attention, source_offsets, offsets = a_map("the cats", "각", 3)
    assert merge(attention, source_offsets, offsets, "token") is attention


def test_an_impossible_token_makes_its_unit_impossible_and_no_other():
    attention = AttentionMap(["a"], ["x", "y", "z"], np.ones((3, 1)), "a", "xy z",
                             [-1.0, -np.inf, -2.0])  # fmt: skip
    merged = merge(attention, [(0, 1)], [(0, 1), (1, 2), (3, 4)], "word")
    assert merged.token_log_probs == [-np.inf, -2.0]


def test_a_word_that_looks_like_the_end_is_a_word():
    text = "a </s>"
    attention = AttentionMap(text.split(), ["x"], np.array([[0.4, 0.6]]), text, "x")
    merged = merge(attention, [(0, 1), (2, 6)], [(0, 1)], "word")
    assert merged.source_tokens == ("a", "</s>")


def test_offsets_that_do_not_fit():
    attention = AttentionMap(["a", "b", "</s>"], ["x"], np.full((1, 3), 1 / 3), "a b", "x")
    for offsets in ([(0, 1)], [(0, 1), (2, 3), (3, 3), (3, 3)]):
        with pytest.raises(ValueError, match=re.escape(f"{len(offsets)} came")):
            merge(attention, offsets, [(0, 1)], "word")
