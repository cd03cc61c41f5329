"""Ids, order and padding, against arrays written by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumok.config import DataConfig, TokenizerConfig
from jumok.data import Pair, collate, encode_parts, pad, source_ids, source_order
from jumok.data.split import held_out, source_hash
from jumok.errors import DataError
from jumok.text import BOS, EOS, PAD, train_tokenizer

WORD = train_tokenizer(["a b c d e f g h i"], TokenizerConfig(kind="word"))
A, B, C = WORD.encode("a b c").ids


def encoded(*pairs, **settings):
    return encode_parts([[Pair(*p) for p in pairs]], WORD, WORD, DataConfig(**settings))


def test_pairs_become_ids_in_order():
    data = encoded(("a b", "c"), ("c", "b a"))
    assert [ids.tolist() for ids in data.source] == [[A, B], [C]]
    assert [ids.tolist() for ids in data.target] == [[C], [B, A]]
    assert data.source.values.dtype == data.target.values.dtype == np.uint16
    assert data.source_lengths.tolist() == [3, 2]
    assert data.target_lengths.tolist() == [2, 3]
    assert len(data) == 2
    assert data.counts.dropped == 0


def test_long_and_empty_pairs_are_left_out_and_counted():
    data = encoded(("a", "b"), ("a b c", "b"), ("a", "b c a"), ("\u3000", "b"), ("c", "\n"),
                   ("a b", "b c"), max_source_length=2, max_target_length=2)  # fmt: skip
    assert data.pairs == [("a", "b"), ("a b", "b c")]
    assert data.counts.dropped == 4
    assert len(data.source) == len(data.target) == 2


def test_more_pairs_than_one_chunk(monkeypatch):
    monkeypatch.setattr("jumok.data.dataset._CHUNK", 10)
    many = [(f"{'abc'[i % 3]}", f"{'cab'[i % 3]}") for i in range(25)]
    data = encoded(*many)
    assert data.pairs == many
    assert [int(ids[0]) for ids in data.source[9:12]] == [A, B, C]


@given(st.lists(st.integers(4, 99), max_size=9), st.booleans())
def test_source_order_brings_columns_back_to_text_order(ids, reverse):
    read = np.array(source_ids(ids, reverse))
    assert read[-1] == EOS
    assert read[source_order(len(ids), reverse)].tolist() == [*ids, EOS]


def test_source_ids_by_hand():
    assert source_ids([5, 6, 7], reverse=False) == [5, 6, 7, EOS]
    assert source_ids([5, 6, 7], reverse=True) == [7, 6, 5, EOS]
    assert source_ids([], reverse=True) == [EOS]
    assert source_ids(np.array([5], dtype=np.int32), reverse=True) == [5, EOS]
    assert source_order(3, True).tolist() == [2, 1, 0, 3]


def test_pad():
    ids, lengths = pad([[5, 6], [7], []])
    assert ids.tolist() == [[5, 6], [7, PAD], [PAD, PAD]]
    assert lengths.tolist() == [2, 1, 0]
    assert ids.dtype == lengths.dtype == np.int64
    assert pad([])[0].shape == (0, 0)


@pytest.mark.parametrize("reverse", [False, True])
def test_collate_by_hand(reverse):
    data = encoded(("a b", "c"), ("c", "b a c"), ("b", "a"))
    batch = collate(data, [1, 0], reverse)
    assert batch.source.tolist() == [[C, EOS, PAD], [B, A, EOS] if reverse else [A, B, EOS]]
    assert batch.source_lengths.tolist() == [2, 3]
    assert batch.target_in.tolist() == [[BOS, B, A, C], [BOS, C, PAD, PAD]]
    assert batch.target_out.tolist() == [[B, A, C, EOS], [C, EOS, PAD, PAD]]
    assert batch.target_lengths.tolist() == [4, 2]
    assert batch.indices.tolist() == [1, 0]
    assert batch.copies is None
    assert {array.dtype for array in batch[:-1]} == {np.dtype(np.int64)}


# --- held-out pairs ------------------------------------------------------------------------------


def split(pairs, fraction, seed):
    """Train and dev."""
    hashes = np.array([source_hash(pair) for pair in pairs], np.uint64)
    dev = held_out(hashes, fraction, seed, any(pair.source for pair in pairs))
    both = list(zip(pairs, dev, strict=True))
    return [pair for pair, held in both if not held], [pair for pair, held in both if held]


pairs_strategy = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")).map(lambda p: Pair(*p)),
    min_size=2,
    max_size=40,
)


@given(pairs_strategy, st.floats(0.01, 0.99), st.integers())
def test_split_is_a_partition_by_source(pairs, fraction, seed):
    if len({p.source for p in pairs}) < 2:
        with pytest.raises(DataError, match="two different sources"):
            split(pairs, fraction, seed)
        return
    train, dev = split(pairs, fraction, seed)
    assert train
    assert dev
    assert sorted(train + dev) == sorted(pairs)
    assert not {p.source for p in train} & {p.source for p in dev}
    sizes = Counter(p.source for p in pairs).values()
    assert len(dev) <= max(1, round(fraction * len(pairs)), min(sizes))
    assert (train, dev) == split(pairs, fraction, seed)


def test_texts_without_a_source_are_split_by_themselves():
    texts = [Pair("", text) for text in "abcaab"]
    train, dev = split(texts, 0.3, 1)
    assert sorted(train + dev) == sorted(texts) and train and dev
    assert not set(train) & set(dev)
    with pytest.raises(DataError, match="two different texts, but 1 came"):
        split([Pair("", "a")] * 3, 0.3, 1)


def test_split_keeps_the_share_the_order_and_the_seed():
    pairs = [Pair(f"s{i}", "t") for i in range(1000)]
    train, dev = split(pairs, 0.1, 1)
    assert len(dev) == 100
    assert train == [p for p in pairs if p in set(train)]
    assert split(pairs, 0.1, 2)[1] != dev


def test_split_takes_equivalent_sources_for_one():
    pairs = [Pair("가", "1"), Pair("\u1100\u1161", "2"), Pair("나", "3")]
    for seed in range(10):
        train, dev = split(pairs, 0.5, seed)
        assert [p.target for p in train] in (["1", "2"], ["3"])
        assert len(train) + len(dev) == 3


def test_case_makes_no_other_source_where_it_is_not_read():
    one, other = Pair("\u00c9t\u00e9", "1"), Pair("e\u0301te\u0301", "2")
    assert source_hash(one) != source_hash(other)
    assert source_hash(one, lowercase=True) == source_hash(other, lowercase=True)
    texts = [Pair("", pair.source) for pair in (one, other)]
    assert len({source_hash(text, lowercase=True) for text in texts}) == 1


def test_a_large_group_does_not_swallow_the_training_part():
    pairs = [Pair("common", str(i)) for i in range(90)] + [Pair(f"s{i}", "t") for i in range(10)]
    for seed in range(10):
        assert len(split(pairs, 0.05, seed)[1]) == 5
