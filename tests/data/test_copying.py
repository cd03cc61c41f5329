"""Source tokens as ids of the extended target vocabulary."""

from jumok.config import DataConfig, TokenizerConfig
from jumok.data import Copying, Pair, collate, encode_parts
from jumok.text import BOS, EOS, PAD, UNK, train_tokenizer

SOURCE = train_tokenizer(["say a b"], TokenizerConfig(kind="word"))
TARGET = train_tokenizer(["a b said"], TokenizerConfig(kind="word"))
A, B, SAID = TARGET.encode("a b said").ids
NEW = TARGET.vocab_size
PAIRS = [Pair("say a zoe zoe kim", "kim said a zoe max"), Pair("say b", "b")]


def test_tokens_are_copied_by_their_text():
    copying = Copying(SOURCE, TARGET)
    ids, extra = copying.source(SOURCE.encode("say a zoe zoe kim"))
    assert ids == [NEW, A, NEW + 1, NEW + 1, NEW + 2]
    assert extra == ["say", "zoe", "kim"]
    written = TARGET.encode("kim said a zoe max")
    extended = copying.target(written.ids, written.tokens, extra)
    assert extended == [NEW + 2, SAID, A, NEW + 1, UNK]  # max is not in the source


def test_names_of_special_tokens_are_only_texts():
    ids, extra = Copying(SOURCE, TARGET).source(SOURCE.encode("</s> <unk>"))
    assert ids == [NEW, NEW + 1]
    assert extra == ["</s>", "<unk>"]


def test_features_are_never_copied():
    tags = train_tokenizer(["a;PST"], TokenizerConfig(kind="split", separator=";"))
    ids, extra = Copying(SOURCE.with_features(tags), TARGET).source(
        SOURCE.with_features(tags).encode("a;PST;new a zoe")
    )
    assert ids == [PAD, PAD, PAD, A, NEW]
    assert extra == ["zoe"]


def test_a_batch_feeds_unk_and_asks_for_the_copied_token():
    data = encode_parts([PAIRS], SOURCE, TARGET, DataConfig(), copy_tokens=True)
    batch = collate(data, [1, 0], reverse=False)
    assert batch.copies.tolist() == [
        [NEW, B, EOS, PAD, PAD, PAD],
        [NEW, A, NEW + 1, NEW + 1, NEW + 2, EOS],
    ]
    assert batch.target_out[1].tolist() == [NEW + 2, SAID, A, NEW + 1, UNK, EOS]
    assert batch.target_in[1].tolist() == [BOS, UNK, SAID, A, UNK, UNK]
    backwards = collate(data, [1, 0], reverse=True)
    assert backwards.copies[1].tolist() == [NEW + 2, NEW + 1, NEW + 1, A, NEW, EOS]
    assert backwards.copies.shape == backwards.source.shape


def test_without_copies_nothing_is_extended():
    batch = collate(encode_parts([PAIRS], SOURCE, TARGET, DataConfig()), [0], reverse=False)
    assert batch.copies is None
    assert batch.target_out[0].tolist() == [UNK, SAID, A, UNK, UNK, EOS]
