"""The first word of a text as a list of features, cut by a tokenizer of its own."""

import pytest

from jumok.config import TokenizerConfig
from jumok.errors import BundleError, InputError
from jumok.text import UNK, Tokenizer, train_tokenizer, unknown_rate

FEATURES = train_tokenizer(["V;PST", "V;PRS;3"], TokenizerConfig(kind="split", separator=";"))
LETTERS = train_tokenizer(["gehen 가다"], TokenizerConfig(kind="jamo"))
BOTH = LETTERS.with_features(FEATURES)


def test_features_stand_before_the_text_with_ids_of_their_own():
    read = BOTH.encode("V;PST gehen")
    assert read.tokens == ["V", "PST", *"gehen"]
    assert read.ids[2:] == LETTERS.encode("gehen").ids
    shift = LETTERS.vocab_size - UNK  # the three before <unk> are shared
    assert read.ids[:2] == [i + shift for i in FEATURES.encode("V;PST").ids]
    assert BOTH.text_size == LETTERS.vocab_size
    assert BOTH.vocab_size == LETTERS.vocab_size + FEATURES.vocab_size - UNK
    assert BOTH.tokens(read.ids) == read.tokens
    assert BOTH.encode_ids(["V;PST gehen"]) == [read.ids]


def test_offsets_count_in_the_whole_text():
    text = "V;PST 가다"
    read = BOTH.encode(text)
    assert [text[a:b] for a, b in read.offsets] == ["V", "PST", "가", "가", "다", "다"]


def test_a_feature_never_seen_is_unknown_and_a_letter_is_no_feature():
    read = BOTH.encode("V;g V")
    assert read.ids == [BOTH.encode("V x").ids[0], BOTH.text_size, UNK]
    assert read.tokens == ["V", "g", "V"]
    assert unknown_rate(BOTH, ["V;g V"]) == 2 / 3


def test_spaces_in_the_text_stay():
    assert BOTH.encode("V  ge hen").tokens == ["V", " ", *"ge hen"]


@pytest.mark.parametrize("before", ["  ", " \t", "\u3000 "])
def test_white_space_before_the_features_does_not_hide_them(before):
    read = BOTH.encode(f"{before}V;PST gehen")
    assert read.ids == BOTH.encode("V;PST gehen").ids
    assert read.offsets[:2] == [(2, 3), (4, 7)]


@pytest.mark.parametrize("text", ["gehen", "V;PST ", " V;PST  ", "V;PST\u3000gehen"])
def test_one_word_is_refused(text):
    with pytest.raises(InputError, match="which is one word"):
        BOTH.encode(text)


def test_a_text_of_one_word_is_refused_by_its_place_and_an_empty_one_is_empty():
    with pytest.raises(InputError, match="Put the features first") as caught:
        BOTH.encode_batch(["V;PST gehen", "gehen"])
    assert caught.value.index == 1
    assert BOTH.encode("").ids == BOTH.encode("  ").ids == []


def test_the_file_holds_both():
    again = Tokenizer.from_json(BOTH.to_json())
    assert again.encode("V;PST 가다") == BOTH.encode("V;PST 가다")
    assert again.to_json() == BOTH.to_json()
    with pytest.raises(BundleError):
        Tokenizer.from_json(BOTH.to_json().replace('"features": {', '"features": {"x": ', 1))
