"""Laws of every kind of tokenizer, against `unicodedata`, `str.split` and plain Hugging Face."""

import json
import unicodedata
from functools import cache
from itertools import product

import pytest
import tokenizers as hf
from hypothesis import example, given
from hypothesis import strategies as st

from jumok.config import TokenizerConfig
from jumok.errors import InputError
from jumok.text import BOS, EOS, PAD, SPECIALS, UNK, Tokenizer, train_tokenizer, unknown_rate

KINDS = ["char", "jamo", "word", "bpe", "unigram", "split"]
LETTERS = "abcdeé가각나힣주목ㅋ\u0301😀👩\u200d\u1100</s>_|."
TEXTS = [
    " ".join(LETTERS),
    *LETTERS,
    "주목 해 주세요",
    "a</s> <pad> <s>",
    "abc abc abc",
    "각 각 나",
]
SYLLABLES = [chr(c) for c in range(0xAC00, 0xD7A4)]

known_text = st.text(LETTERS, max_size=10)
sentence = st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=5).map(" ".join)
# a mark at the start of a word would join the space before it
sentence = sentence.filter(lambda text: " \u0301" not in text)


@cache
def trained(kind: str) -> Tokenizer:
    return train_tokenizer(TEXTS, TokenizerConfig(kind=kind))


def nfc(text):
    return unicodedata.normalize("NFC", text)


def nfd(text):
    return unicodedata.normalize("NFD", text)


# --- there and back ------------------------------------------------------------------------------


def test_every_syllable_comes_back_from_jamo():
    tokenizer = train_tokenizer(SYLLABLES, TokenizerConfig(kind="jamo"))
    assert tokenizer.vocab_size == 19 + 21 + 27 + len(SPECIALS)
    text = "".join(SYLLABLES)
    encoded = tokenizer.encode(text)
    assert tokenizer.decode(encoded.ids) == text
    assert "".join(encoded.tokens) == nfd(text)
    assert [(i, i + 1) for i, c in enumerate(text) for _ in nfd(c)] == encoded.offsets


@given(st.text(LETTERS + " \n\t", max_size=20))
def test_char_and_jamo_lose_nothing(text):
    for kind in ("char", "jamo"):
        tokenizer = train_tokenizer([LETTERS + " \n\t", nfd(LETTERS)], TokenizerConfig(kind=kind))
        ids = tokenizer.encode(text).ids
        if UNK not in ids:  # NFC can compose a character that the vocabulary has not seen
            assert tokenizer.decode(ids) == nfc(text)
        else:
            assert kind == "char"


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@given(text=sentence)
def test_subwords_give_known_characters_back(kind, text):
    tokenizer = trained(kind)
    ids = tokenizer.encode(text).ids
    if UNK not in ids and "<unk>" not in text:
        assert tokenizer.decode(ids) == nfc(text)
    else:
        assert set(nfc(text)) - set("".join(TEXTS))


@given(st.lists(st.text(LETTERS, min_size=1, max_size=3), min_size=1, max_size=5))
def test_word_and_split_give_known_tokens_back(words):
    words = [word for word in map(nfc, words) if not word.startswith("\u0301")]
    text = " ".join(words)
    if text:
        word = train_tokenizer([text], TokenizerConfig(kind="word"))
        assert word.decode(word.encode(f"  {text}\n").ids) == text
        assert word.encode(text).tokens == text.split()
        split = train_tokenizer(["@".join(words)], TokenizerConfig(kind="split", separator="@"))
        assert split.encode("@".join(words)).tokens == words
        assert split.decode(split.encode("@@" + "@@".join(words)).ids) == "@".join(words)


def test_split_divides_by_the_separator_and_nothing_else():
    tokenizer = train_tokenizer(["a b|c||d|"], TokenizerConfig(kind="split", separator="|"))
    encoded = tokenizer.encode("|a b|d||c")
    assert encoded.tokens == ["a b", "d", "c"]
    assert encoded.offsets == [(1, 4), (5, 6), (8, 9)]
    assert tokenizer.decode(encoded.ids) == "a b|d|c"
    phones = train_tokenizer(["k a̠ n"], TokenizerConfig(kind="split"))
    assert phones.encode("k a̠ k").tokens == ["k", "a̠", "k"]


def test_word_splits_where_str_split_does():
    text = "a\x1fb\u3000c\u0085d\u2028e\u200bf\xa0g"
    tokenizer = train_tokenizer([text], TokenizerConfig(kind="word"))
    assert tokenizer.encode(text).tokens == text.split()


# --- one text, one result ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.one_of(known_text, st.text(max_size=10)))
def test_composed_and_decomposed_input_are_one(kind, text):
    tokenizer = trained(kind)
    assert tokenizer.encode(nfd(text)).ids == tokenizer.encode(nfc(text)).ids


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.one_of(known_text, sentence, st.text(max_size=10)))
def test_no_text_becomes_a_special_token(kind, text):
    encoded = trained(kind).encode(f"{text}</s><s>{text} <pad> </s>")
    assert not {PAD, BOS, EOS} & set(encoded.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_special_names_stay_text_even_where_training_was_full_of_them(kind):
    texts = ["<unk> <s> </s> <pad> a"] * 9
    tokenizer = train_tokenizer(texts, TokenizerConfig(kind=kind))
    ids = tokenizer.encode(texts[0]).ids
    assert not {PAD, BOS, EOS} & set(ids)
    assert tokenizer.decode(ids) == texts[0]  # '<unk>' may be unknown, and is written the same
    assert tokenizer.tokens([PAD, BOS, EOS, UNK]) == list(SPECIALS)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_characters_are_one_token_each_where_texts_spell_its_name(kind):
    texts = ["well-<unk> <unk> (<unk>)-<unk> the cat", "the <unk> cat"] * 9
    trained = train_tokenizer(texts, TokenizerConfig(kind=kind))
    tokenizer = Tokenizer.from_json(trained.to_json())
    assert tokenizer.decode(tokenizer.encode(texts[0]).ids) == texts[0]
    ids = tokenizer.encode("the \N{GREEK CAPITAL LETTER OMEGA} cat").ids
    assert ids.count(UNK) == 1
    assert tokenizer.decode(ids) == "the <unk> cat"


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(st.one_of(sentence, st.text(max_size=8)), max_size=5))
def test_batches_ids_and_single_texts_agree(kind, texts):
    tokenizer = trained(kind)
    single = [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts) == single
    assert tokenizer.encode_ids(texts) == [one.ids for one in single]


# --- offsets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.one_of(sentence, known_text, sentence.map(nfd), st.text(max_size=10)))
def test_offsets_point_at_the_token(kind, text):
    tokenizer = trained(kind)
    encoded = tokenizer.encode(text)
    assert len(encoded.ids) == len(encoded.tokens) == len(encoded.offsets)
    for i, token, (start, end) in zip(*encoded, strict=True):
        assert 0 <= start <= end <= len(text)
        found = tokenizer.normalise(text[start:end]).replace(" ", "▁")
        if kind in ("bpe", "unigram") and i != UNK:
            token = token.removeprefix("▁") if not found.startswith("▁") else token
        assert token.replace(" ", "▁") in found


@pytest.mark.parametrize(
    ("kind", "text", "tokens", "offsets"),
    [
        ("char", "가e\u0301나", ["가", "é", "나"], [(0, 1), (1, 3), (3, 4)]),
        ("jamo", "각a", ["ᄀ", "ᅡ", "ᆨ", "a"], [(0, 1), (0, 1), (0, 1), (1, 2)]),
        ("jamo", nfd("각") + "a", ["ᄀ", "ᅡ", "ᆨ", "a"], [(0, 3), (0, 3), (0, 3), (3, 4)]),
        ("word", " abc  각", ["abc", "각"], [(1, 4), (6, 7)]),
        ("bpe", "b ac", ["▁b", "▁a", "c"], [(0, 1), (1, 3), (3, 4)]),
    ],
)
def test_offsets_by_hand(kind, text, tokens, offsets):
    encoded = train_tokenizer(
        ["b b ac a c", "가 각 é 나", "abc"], TokenizerConfig(kind=kind, min_count=1, vocab_size=30)
    ).encode(text)
    if kind != "bpe":
        assert encoded.tokens == tokens
        assert encoded.offsets == offsets
    else:
        assert [text[a:b] for a, b in encoded.offsets if b > a] == ["b", " ac"]


def test_unknown_tokens_show_the_text():
    jamo = train_tokenizer(["가"], TokenizerConfig(kind="jamo"))
    encoded = jamo.encode("고가")
    assert encoded.ids[1] == UNK
    assert encoded.tokens == ["ᄀ", "ᅩ", "ᄀ", "ᅡ"]
    assert jamo.decode(encoded.ids) == "ᄀ<unk>가"
    word = train_tokenizer(["a b"], TokenizerConfig(kind="word"))
    assert word.encode("a zebra").tokens == ["a", "zebra"]
    assert word.decode(word.encode("a zebra").ids) == "a <unk>"


def test_a_prefix_that_stands_for_no_space_is_empty():
    tokenizer = train_tokenizer(["a b"], TokenizerConfig(kind="unigram"))
    assert tokenizer.encode("ab") == (
        tokenizer.encode("ab").ids,
        ["▁", "a", "b"],
        [(0, 0), (0, 1), (1, 2)],
    )


# --- the rest ------------------------------------------------------------------------------------


def test_decode_leaves_specials_out_and_refuses_foreign_ids():
    tokenizer = train_tokenizer(["ab"], TokenizerConfig(kind="char"))
    a, b = tokenizer.encode("ab").ids
    assert tokenizer.decode([BOS, a, UNK, b, EOS, PAD, PAD]) == "a<unk>b"
    assert tokenizer.decode([]) == ""
    with pytest.raises(IndexError):
        tokenizer.decode([tokenizer.vocab_size])
    with pytest.raises(IndexError, match="start at 0"):
        tokenizer.decode([-1])


@pytest.mark.parametrize("kind", KINDS)
def test_empty_text_has_no_tokens(kind):
    assert trained(kind).encode("") == ([], [], [])


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_surrogate_pair_is_refused_with_a_sentence(kind):
    for call in (trained(kind).encode_batch, trained(kind).encode_ids):
        with pytest.raises(InputError, match="surrogate"):
            call(["a", "\ud83d"])


def test_unknown_rate_by_hand():
    tokenizer = train_tokenizer(["a b"], TokenizerConfig(kind="word"))
    assert unknown_rate(tokenizer, ["a x b", "y"]) == 2 / 4
    assert unknown_rate(tokenizer, ["a"]) == 0
    assert unknown_rate(tokenizer, []) == 0


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.one_of(sentence, sentence.map(nfd)))
def test_the_inner_file_is_a_hugging_face_tokenizer(kind, text):
    ours = trained(kind)
    plain = hf.Tokenizer.from_str(json.dumps(json.loads(ours.to_json())["tokenizer"]))
    assert [i + 3 for i in plain.encode(text).ids] == ours.encode(text).ids


@cache
def knowing_spaces(kind: str, lowercase: bool) -> Tokenizer:
    words = ["".join(word) for n in (1, 2) for word in product("abA▁가", repeat=n)]
    return train_tokenizer([" ".join(words)] * 2, TokenizerConfig(kind=kind, lowercase=lowercase))


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text("abA▁가 ", max_size=8))
@example(" a")
@example("  a")
@example("a▁b")
@example("▁▁ a  ")
def test_a_reference_is_compared_as_it_would_be_written(kind, lowercase, text):
    tokenizer = knowing_spaces(kind, lowercase)
    ids = tokenizer.encode(text).ids
    if UNK not in ids:
        assert tokenizer.decode(ids) == tokenizer.comparable(text)


def test_a_capital_separator_and_lower_case_agree():
    tokenizer = train_tokenizer(
        ["aXb", "bXa"], TokenizerConfig(kind="split", separator="X", lowercase=True)
    )
    ids = tokenizer.encode("AXB").ids
    assert tokenizer.tokens(ids) == ["a", "b"]
    assert tokenizer.decode(ids) == tokenizer.comparable("AXB") == "axb"
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.decode(again.encode("AXB").ids) == "axb"


@pytest.mark.parametrize("kind", ["char", "jamo", "word", "bpe", "unigram", "split"])
@given(text=st.text(alphabet="abc é각나 \u0301▁\u1100\u1161", max_size=12))
def test_places_are_the_offsets_of_a_text_that_is_written_back(kind, text):
    """Two roads: Hugging Face's offsets on the way in, lengths of pieces on the way out."""
    tokenizer = train_tokenizer(["abc é각나 ▁\u1100\u1161"], TokenizerConfig(kind=kind))
    pieces = tokenizer.encode(text).tokens
    written = tokenizer.join(pieces)
    places = tokenizer.places(pieces)
    if unicodedata.is_normalized("NFC", written):
        again = tokenizer.encode(written)
        if again.tokens == pieces:
            assert places == again.offsets
    assert len(places) == len(pieces)
    for piece, (start, end) in zip(pieces, places, strict=True):
        if kind in ("word", "split"):
            assert written[start:end] == piece
        elif kind in ("bpe", "unigram"):
            assert written[start:end] in (piece.replace("▁", " "), piece[1:].replace("▁", " "))
        else:
            nfd = unicodedata.normalize("NFD", written[start:end])
            assert unicodedata.normalize("NFD", piece) in nfd


def test_places_of_letters_are_their_syllables():
    tokenizer = train_tokenizer(["각 가"], TokenizerConfig(kind="jamo"))
    pieces = list(unicodedata.normalize("NFD", "각 가"))
    assert tokenizer.places(pieces) == [(0, 1)] * 3 + [(1, 2)] + [(2, 3)] * 2
    assert tokenizer.places([]) == []
