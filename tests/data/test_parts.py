"""Pairs in parts, in memory and on the disk: the same ids, the same split, whatever was killed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumok.config import DataConfig, TokenizerConfig
from jumok.data import (
    Pair,
    encode_parts,
    open_dataset,
    read_parts,
    split_parts,
)
from jumok.data.ragged import Ragged, RaggedWriter, open_ragged
from jumok.data.split import held_out, source_hash
from jumok.errors import DataError, StorageError
from jumok.text import train_tokenizer

TOKENS = train_tokenizer(["a b c 가 나 \U0001f600"], TokenizerConfig(kind="word"))
NARROW = DataConfig(max_source_length=3, max_target_length=3)
texts = st.lists(st.sampled_from(["a", "b", "가", "q", "\U0001f600"]), max_size=4).map(" ".join)
pairs = st.lists(st.builds(Pair, texts, texts), max_size=30)


def same(one, other):
    assert len(one) == len(other)
    for side in ("source", "target", "copies"):
        ours, theirs = getattr(one, side), getattr(other, side)
        if ours is None:
            assert theirs is None
            continue
        assert [row.tolist() for row in ours] == [row.tolist() for row in theirs]
    assert list(one.pairs) == list(other.pairs)
    assert one.counts.digest == other.counts.digest
    assert (one.counts.dropped, one.counts.unknown) == (other.counts.dropped, other.counts.unknown)


@given(st.lists(st.lists(st.integers(0, 60_000), max_size=5), max_size=9), st.integers(0, 9))
def test_ragged_is_a_list_of_lists(tmp_path_factory, rows, cut):
    path = tmp_path_factory.mktemp("ragged") / "ids"
    memory, disk = RaggedWriter(None, np.dtype(np.uint16)), RaggedWriter(path, np.dtype(np.uint16))
    for some in (rows[:cut], rows[cut:]):
        memory.extend(some)
        disk.extend(some)
    disk.finish()
    for found in (memory.finish(), open_ragged(path, np.dtype(np.uint16))):
        assert [row.tolist() for row in found] == rows
        assert found.lengths.tolist() == [len(row) for row in rows]
        assert [row.tolist() for row in found[1:3]] == rows[1:3]
        with pytest.raises(IndexError):
            found[len(rows)]


def test_ragged_counts_from_the_end():
    found = Ragged(np.arange(3), np.array([1, 3]))
    assert found[-1].tolist() == [1, 2] and found[-2].tolist() == [0]


@given(some=pairs, cut=st.integers(0, 30), copies=st.booleans())
def test_ids_are_the_same_in_memory_on_the_disk_and_in_whatever_parts(
    tmp_path_factory, some, cut, copies
):
    store = tmp_path_factory.mktemp("store") / "ids"
    memory = encode_parts([some], TOKENS, TOKENS, NARROW, copies)
    assert open_dataset(store) is None
    made = encode_parts([some[:cut], some[cut:]], TOKENS, TOKENS, NARROW, copies, store=store)
    same(made, memory)
    again = open_dataset(store)
    assert again is not None
    same(again, memory)
    assert again.counts.ends[-1] == len(memory)
    unknown = sum(text.split().count("q") for pair in some for text in pair)
    assert sum(memory.counts.unknown) == unknown
    if len(memory):
        other = encode_parts([memory.pairs[::-1]], TOKENS, TOKENS, NARROW, copies)
        assert (other.counts.digest == memory.counts.digest) == (memory.pairs[::-1] == memory.pairs)


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("moment", range(1, 11))
def test_what_a_kill_left_is_gone_on_with(tmp_path, monkeypatch, moment):
    monkeypatch.setattr("jumok.data.dataset._CHUNK", 7)
    monkeypatch.setattr("jumok.data.dataset._KEEP", 14)
    some = [Pair(f"a {'b ' * (i % 4)}", "가" if i % 5 else "q") for i in range(60)]
    parts = [some[:25], some[25:26], some[26:]]
    encoded = []

    def tell(read):
        encoded.append(read)
        if len(encoded) == moment:
            raise KilledError

    with pytest.raises(KilledError):
        encode_parts(parts, TOKENS, TOKENS, NARROW, store=tmp_path / "ids", tell=tell)
    for name in ("source.values", "target.bounds", "source.text.values"):
        with (tmp_path / "ids" / name).open("ab") as file:
            file.write(b"torn")  # what was written and not kept account of
    assert open_dataset(tmp_path / "ids") is None
    before = len(encoded)
    made = encode_parts(parts, TOKENS, TOKENS, NARROW, store=tmp_path / "ids", tell=encoded.append)
    same(made, encode_parts([some], TOKENS, TOKENS, NARROW))
    assert made.counts.ends == encode_parts(parts, TOKENS, TOKENS, NARROW).counts.ends
    if moment > 4:
        assert len(encoded) - before < 10  # of ten chunks: some were not encoded again


def test_a_full_disk_is_told(tmp_path, full_disk):
    some = [Pair("a b c", "가 나")] * 20_000
    with full_disk(), pytest.raises(StorageError, match="Could not write"):
        encode_parts([some], TOKENS, TOKENS, NARROW, store=tmp_path / "ids")


def write(path, some):
    path.write_text("".join(f"{p.source}\t{p.target}\n" for p in some), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("in_memory", [True, False])
def test_files_read_anew_are_those_kept_in_memory(tmp_path, in_memory):
    some = [Pair(f"s{i % 40}", f"t{i}") for i in range(90)]
    names = [write(tmp_path / "one.tsv", some[:31]), write(tmp_path / "two.tsv", some[31:])]
    with (tmp_path / "two.tsv").open("a", encoding="utf-8") as file:
        file.write("bad\n" * 12)
    config = DataConfig(skip_bad_lines=True)
    found = read_parts(names, config, in_memory=in_memory)
    assert [list(part.pairs) for part in found.parts] == [some[:31], some[31:]]
    assert found.bad_lines == 12 and len(found.bad) == 10
    assert found.bad[0].line == 60
    train, dev = split_parts(found.parts, 0.2, 3)
    held = held_out(np.array([source_hash(pair) for pair in some], np.uint64), 0.2, 3)
    for _ in range(2):  # as often as wanted
        for side, wanted in ((train, ~held), (dev, held)):
            flat = [pair for part in side for pair in part.pairs]
            assert flat == [pair for pair, here in zip(some, wanted, strict=True) if here]
    assert isinstance(found.parts[0].pairs, list) == in_memory
    again = found.parts[0].kept(np.arange(31) % 2 == 0).kept(np.arange(16) % 3 == 0)
    assert list(again.pairs) == some[:31:6]


@pytest.mark.parametrize("change", [lambda some: some[1:], lambda some: [*some, some[0]],
                                    lambda some: [some[1], some[0], *some[2:]]])  # fmt: skip
def test_a_file_that_changes_between_two_readings_is_an_error(tmp_path, change):
    some = [Pair(f"s{i}", f"t{i}") for i in range(30)]
    name = write(tmp_path / "p.tsv", some)
    train, _ = split_parts(read_parts([name], DataConfig(), in_memory=False).parts, 0.2, 3)
    write(tmp_path / "p.tsv", change(some))
    with pytest.raises(DataError, match=r"p\.tsv: the file has changed while it was read"):
        encode_parts([part.pairs for part in train], TOKENS, TOKENS, NARROW)
