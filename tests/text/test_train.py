"""Vocabularies: what gets in, in which order, and always the same."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from jumok.config import TokenizerConfig
from jumok.errors import DataError
from jumok.text import SPECIALS, UNK, resolve_kind, train_tokenizer, unknown_rate

DATA = Path(__file__).parents[2].parent / "shared" / "data"
KINDS = ["char", "jamo", "word", "bpe", "unigram", "split"]


def vocabulary(texts, **settings):
    tokenizer = train_tokenizer(texts, TokenizerConfig(**settings))
    return tokenizer.tokens(range(len(SPECIALS), tokenizer.vocab_size))


def column(name, number):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there: the shared data sets are not part of the repository")
    lines = path.read_text(encoding="utf-8").split("\n")
    return [line.split("\t")[number] for line in lines if line]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["안녕하세요", "hi"], "jamo"),
        (["\u1100\u1161\u1102\u1161"], "jamo"),
        (["hello 안녕"], "char"),
        (["가a"], "char"),
        (["123 !?"], "char"),
        ([], "char"),
        (["ㅋㅋㅋ"], "char"),
    ],
)
def test_auto_is_jamo_where_most_letters_are_syllables(texts, kind):
    assert resolve_kind(texts, TokenizerConfig()).kind == kind


def test_a_chosen_kind_is_kept():
    config = TokenizerConfig(kind="word", min_count=2)
    assert resolve_kind(["안녕"], config) == config
    assert resolve_kind(["안녕"], TokenizerConfig(min_count=2)).min_count == 2


def test_tokens_come_by_count_then_code_point():
    assert vocabulary(["b b a a c"], kind="word") == ["a", "b", "c"]
    assert vocabulary(["cbbaa"], kind="char") == ["a", "b", "c"]


def test_min_count_leaves_rare_tokens_out():
    assert vocabulary(["a a b"], kind="word", min_count=2) == ["a"]
    assert vocabulary(["aab"], kind="char", min_count=2) == ["a"]
    assert vocabulary(["a|a|b"], kind="split", separator="|", min_count=2) == ["a"]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_subwords_below_min_count_are_not_made(kind):
    texts = ["lower lowest newer newest"] * 4 + ["zebra", "zebra"]
    often = vocabulary(texts, kind=kind, min_count=4, vocab_size=60)
    assert {"z", "b", "r", "a"} <= set(often)  # the alphabet stays
    assert not [piece for piece in often if "z" in piece and len(piece) > 1]
    assert any(len(piece) > 2 for piece in often)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [8, 20, 50])
def test_vocab_size_counts_everything(kind, size):
    letters = [chr(ord("a") + i) for i in range(26)]
    texts = [f"{x} {x}{y}" for x in letters for y in letters[:3]] + ["a a a"]
    config = TokenizerConfig(kind=kind, vocab_size=size)
    tokenizer = train_tokenizer(texts, config)
    assert tokenizer.vocab_size <= size
    assert tokenizer.encode("a").ids != [UNK]
    if size == 50:
        assert unknown_rate(tokenizer, letters) == 0


def test_subword_alphabet_has_every_character_or_the_most_frequent():
    texts = ["aaaa bbbb cc d", "é 가 😀"]
    for kind in ("bpe", "unigram"):
        assert set("abcdé가😀▁") <= set(vocabulary(texts, kind=kind))
        small = vocabulary(texts, kind=kind, vocab_size=8)
        assert sorted(small) == ["a", "b", "c", "▁"]


@pytest.mark.parametrize("kind", KINDS)
def test_lowercase(kind):
    tokenizer = train_tokenizer(["ABC Éa"], TokenizerConfig(kind=kind, lowercase=True))
    ids = tokenizer.encode("aBc ÉA").ids
    assert ids == tokenizer.encode("abc e\u0301a").ids
    assert UNK not in ids
    assert tokenizer.decode(ids) == "abc éa"


def test_a_separator_in_capitals_still_divides_lower_cased_text():
    config = TokenizerConfig(kind="split", separator="X", lowercase=True)
    tokenizer = train_tokenizer(["aXB"], config)
    assert tokenizer.encode("AXb").tokens == ["a", "b"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_is_an_error(kind, texts):
    with pytest.raises(DataError, match="gave no token"):
        train_tokenizer(texts, TokenizerConfig(kind=kind))


def test_only_separators_or_only_rare_tokens_are_an_error():
    with pytest.raises(DataError, match="gave no token"):
        train_tokenizer([" \n "], TokenizerConfig(kind="word"))
    with pytest.raises(DataError, match="min_count"):
        train_tokenizer(["abc"], TokenizerConfig(kind="char", min_count=2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [["a"], ["a b"], ["a\0b"], ["ab"] * 3, ["가" * 300], ["\n\t"]])
def test_tiny_texts_are_enough(kind, texts):
    try:
        assert train_tokenizer(texts, TokenizerConfig(kind=kind)).vocab_size > len(SPECIALS)
    except DataError:
        assert kind == "word" and not texts[0].split()


_TRAIN = """
import sys
from jumok.config import TokenizerConfig
from jumok.text import train_tokenizer
texts = sys.stdin.buffer.read().decode().split("\\n")
for kind in ("bpe", "unigram", "word", "jamo"):
    for size in (700, 3000):
        sys.stdout.buffer.write(
            train_tokenizer(texts, TokenizerConfig(kind=kind, vocab_size=size)).to_json().encode()
        )
"""


def test_training_gives_the_same_file_in_every_process():
    texts = column("tatoeba-ko-en/train.tsv", 0)
    # hash seeds differ between processes, and so did the library's unigram scores
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _TRAIN],
            input="\n".join(texts).encode(),
            capture_output=True,
            check=True,
        ).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1000


def test_jamo_over_real_words_loses_nothing():
    words = column("sigmorphon2020-g2p/kor_test.tsv", 0)
    assert len(words) == 450
    tokenizer = train_tokenizer(words, TokenizerConfig())
    assert tokenizer.kind == "jamo"
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_ids(words)] == words
    letters = Counter(c for w in words for c in tokenizer.normalise(w))
    assert tokenizer.vocab_size == len(letters) + len(SPECIALS)


def test_subwords_over_real_sentences():
    texts = column("tatoeba-ko-en/dev.tsv", 1)
    for kind in ("bpe", "unigram"):
        tokenizer = train_tokenizer(texts, TokenizerConfig(kind=kind, vocab_size=500))
        assert tokenizer.vocab_size <= 500
        assert unknown_rate(tokenizer, texts) == 0
        single = [" ".join(text.split()) for text in texts]
        assert [tokenizer.decode(ids) for ids in tokenizer.encode_ids(single)] == single
