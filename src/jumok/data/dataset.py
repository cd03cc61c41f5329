"""Pairs as ids, and the one place that knows what the encoder reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int, Integer

from jumok.config import DataConfig
from jumok.data.copying import Copying
from jumok.data.pairs import Pair
from jumok.data.ragged import Ragged, RaggedWriter, TextPairs, as_bytes, open_ragged
from jumok.storage import storage_errors, write_atomic
from jumok.text import EOS, Encoding, Tokenizer, unknown_count

_CHUNK = 10_000
"""Pairs encoded in one call: enough for all cores, little memory."""
_KEEP = 200_000
"""Pairs after which what was made of them is brought to the disk."""
_DONE, _BEGUN = "dataset.json", "begun.json"
_TEXT, _TEXTS = np.dtype(np.uint8), ("source.text", "target.text")


@dataclass
class Counts:
    """What is known of a dataset beside its ids."""

    target_vocab: int = 0
    """Size of the target vocabulary."""
    dropped: int = 0
    """Pairs left out: a side was too long, or gave no token."""
    ends: list[int] = field(default_factory=list)
    """Where the pairs of each part (a file) end."""
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    """Source and target tokens that were read, of pairs left out too."""
    unknown: list[int] = field(default_factory=lambda: [0, 0])
    """How many of them the vocabularies lack."""
    digest: str = "0"
    """Of the texts of all pairs in their order, whatever parts they came in."""


@dataclass
class Dataset:
    """Encoded pairs. Ids are in text order, without bos and eos."""

    source: Ragged
    target: Ragged
    pairs: Sequence[Pair]
    """The texts, in the same order."""
    counts: Counts
    copies: Ragged | None = None
    """Where source tokens can be copied: the target token each would be, see `Copying`. Targets
    may then hold ids beyond the vocabulary."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def source_lengths(self) -> Int[np.ndarray, "pairs"]:
        """Tokens that the encoder reads of each pair, eos counted."""
        return self.source.lengths + 1

    @property
    def target_lengths(self) -> Int[np.ndarray, "pairs"]:
        """Tokens that the decoder writes of each pair, eos counted."""
        return self.target.lengths + 1

    def unknown_rates(self) -> tuple[float, float]:
        """Shares of source and target tokens that the vocabularies lack."""
        shares = [
            unknown / max(1, tokens)
            for unknown, tokens in zip(self.counts.unknown, self.counts.tokens, strict=True)
        ]
        return shares[0], shares[1]


Told = Callable[[int], None]
"""Is told how many pairs have been read."""


def encode_parts(
    parts: Sequence[Iterable[Pair]],
    source_tok: Tokenizer,
    target_tok: Tokenizer,
    config: DataConfig,
    copy_tokens: bool = False,
    least_source: int = 1,
    store: Path | None = None,
    tell: Told = lambda read: None,
) -> Dataset:
    """Encode pairs, leaving out and counting those over ``config``'s lengths (in tokens).

    With ``copy_tokens``, also what each source token would be copied as. ``least_source`` is 0
    where there are no sources, for a language model. With ``store``, a directory, ids and texts
    go into files there, and what a kill left half done is gone on with; whatever is there must be
    of the same pairs and settings.
    """
    encoder = _Encoder(source_tok, target_tok, config, copy_tokens, least_source)
    read = 0
    with closing(_Building(encoder, store)) as building:
        for number, part in enumerate(parts):
            for chunk in _chunks(part):
                read += len(chunk)
                if read > building.read:
                    building.add(encoder(chunk), read)
                    tell(read)
            if number == len(building.counts.ends):
                building.end_part()
        return building.finish()


def open_dataset(store: Path) -> Dataset | None:
    """The dataset that `encode_parts` has finished in ``store``; None if there is none."""
    if not (store / _DONE).exists():
        return None
    known = json.loads((store / _DONE).read_text(encoding="utf-8"))
    dtype = np.dtype(known["dtype"])
    source, target = (open_ragged(store / name, dtype) for name in ("source", "target"))
    texts = TextPairs(*(open_ragged(store / name, _TEXT) for name in _TEXTS))
    copies = open_ragged(store / "copies", dtype) if known["copies"] else None
    return Dataset(source, target, texts, Counts(**known["counts"]), copies)


@dataclass
class _Chunk:
    """Some pairs, encoded: those that fit."""

    pairs: list[Pair]
    source: list[list[int]]
    target: list[list[int]]
    copies: list[list[int]]
    dropped: int
    tokens: list[int]
    unknown: list[int]


class _Encoder:
    def __init__(
        self,
        source: Tokenizer,
        target: Tokenizer,
        config: DataConfig,
        copy_tokens: bool,
        least_source: int,
    ) -> None:
        self.source, self.target, self.config = source, target, config
        self.copying = Copying(source, target) if copy_tokens else None
        self.least_source = least_source
        vocabularies = max(source.vocab_size, target.vocab_size)
        small = vocabularies <= np.iinfo(np.uint16).max and not copy_tokens
        self.dtype = np.dtype(np.uint16 if small else np.int32)

    def __call__(self, pairs: Sequence[Pair]) -> _Chunk:
        texts = [pair.source for pair in pairs], [pair.target for pair in pairs]
        copies: list[list[int]] = []
        if self.copying is None:
            sources, targets = self.source.encode_ids(texts[0]), self.target.encode_ids(texts[1])
            plain = targets
        else:
            read, written = self.source.encode_batch(texts[0]), self.target.encode_batch(texts[1])
            sources = [encoding.ids for encoding in read]
            plain = [encoding.ids for encoding in written]
            copies, targets = _copies(self.copying, read, written)
        unknown = [unknown_count(self.source, sources), unknown_count(self.target, plain)]
        tokens = [sum(map(len, side)) for side in (sources, targets)]
        kept = [i for i, two in enumerate(zip(sources, targets, strict=True)) if self._fits(*two)]
        return _Chunk(
            [pairs[i] for i in kept],
            [sources[i] for i in kept],
            [targets[i] for i in kept],
            [copies[i] for i in kept] if copies else [],
            len(pairs) - len(kept),
            tokens,
            unknown,
        )

    def _fits(self, source: Sequence[int], target: Sequence[int]) -> bool:
        config = self.config
        return (
            self.least_source <= len(source) <= config.max_source_length
            and 0 < len(target) <= config.max_target_length
        )


class _Building:
    """A dataset while it grows."""

    def __init__(self, encoder: _Encoder, store: Path | None) -> None:
        self.store, self.read = store, 0
        self.counts = Counts(target_vocab=encoder.target.vocab_size)
        rows = 0
        if store is not None:
            with storage_errors(store):
                store.mkdir(parents=True, exist_ok=True)
            if (store / _BEGUN).exists():
                begun = json.loads((store / _BEGUN).read_text(encoding="utf-8"))
                self.read, rows = begun["read"], begun["rows"]
                self.counts = Counts(**begun["counts"])
        self.rows, self.kept = rows, self.read

        def writer(name: str, dtype: np.dtype) -> RaggedWriter:
            return RaggedWriter(None if store is None else store / name, dtype, rows)

        self.dtype = encoder.dtype
        self.source, self.target = writer("source", self.dtype), writer("target", self.dtype)
        self.copies = None if encoder.copying is None else writer("copies", self.dtype)
        self.pairs: list[Pair] = []
        self.texts = [] if store is None else [writer(name, _TEXT) for name in _TEXTS]

    def add(self, chunk: _Chunk, read: int) -> None:
        """After ``read`` pairs in all."""
        counts = self.counts
        total = int(counts.digest, 16)
        for number, pair in enumerate(chunk.pairs, start=self.rows):
            total += _digest(number, pair)
        counts.digest = f"{total % (1 << 128):x}"
        counts.dropped += chunk.dropped
        counts.tokens = [a + b for a, b in zip(counts.tokens, chunk.tokens, strict=True)]
        counts.unknown = [a + b for a, b in zip(counts.unknown, chunk.unknown, strict=True)]
        self.rows += len(chunk.pairs)
        self.read = read
        self.source.extend(chunk.source)
        self.target.extend(chunk.target)
        if self.copies is not None:
            self.copies.extend(chunk.copies)
        if not self.texts:
            self.pairs += chunk.pairs
            return
        self.texts[0].extend(as_bytes(pair.source for pair in chunk.pairs))
        self.texts[1].extend(as_bytes(pair.target for pair in chunk.pairs))
        if read - self.kept >= _KEEP:
            self._keep()

    def end_part(self) -> None:
        """The pairs of a part are all there."""
        self.counts.ends.append(self.rows)

    def finish(self) -> Dataset:
        """All that was added."""
        source, target = self.source.finish(), self.target.finish()
        copies = None if self.copies is None else self.copies.finish()
        if self.store is None:
            return Dataset(source, target, self.pairs, self.counts, copies)
        for texts in self.texts:
            texts.finish()
        known = {
            "dtype": self.dtype.name,
            "copies": copies is not None,
            "counts": asdict(self.counts),
        }
        write_atomic(self.store / _DONE, json.dumps(known))
        (self.store / _BEGUN).unlink(missing_ok=True)
        found = open_dataset(self.store)
        assert found is not None
        return found

    def close(self) -> None:
        """Close what is open."""
        with ExitStack() as every:
            for writer in self._writers():
                every.callback(writer.close)

    def _writers(self) -> list[RaggedWriter]:
        copies = [] if self.copies is None else [self.copies]
        return [self.source, self.target, *copies, *self.texts]

    def _keep(self) -> None:
        """Note how far it has come, when all of that is on the disk."""
        assert self.store is not None
        for writer in self._writers():
            writer.flush()
        begun = {"read": self.read, "rows": self.rows, "counts": asdict(self.counts)}
        write_atomic(self.store / _BEGUN, json.dumps(begun))
        self.kept = self.read


def _chunks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    stream = iter(pairs)
    while chunk := list(islice(stream, _CHUNK)):
        yield chunk


def _digest(number: int, pair: Pair) -> int:
    """Of a pair in its place: the sum over all is that of the whole, in whatever pieces it came."""
    text = f"{number}\0{pair.source}\0{pair.target}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())


def _copies(
    copying: Copying, sources: Sequence[Encoding], targets: Sequence[Encoding]
) -> tuple[list[list[int]], list[list[int]]]:
    """What the tokens of each source would be copied as, and the targets with these ids."""
    copies, extended = [], []
    for source, target in zip(sources, targets, strict=True):
        ids, extra = copying.source(source)
        copies.append(ids)
        extended.append(copying.target(target.ids, target.tokens, extra))
    return copies, extended


def source_ids(ids: Sequence[int] | Integer[np.ndarray, "src_len"], reverse: bool) -> list[int]:
    """What the encoder reads for a source of ``ids``: the ids, reversed if asked, then eos.

    Even an empty text gives one token, so an encoder always has something to read.
    """
    return [*np.asarray(ids[::-1] if reverse else ids).tolist(), EOS]


def source_order(length: int, reverse: bool) -> Int[np.ndarray, "src_len"]:
    """Columns of attention back in text order: ``weights[:, source_order(n, reverse)]``.

    ``length`` is the number of source tokens without eos; eos stays the last column.
    """
    order = np.arange(length + 1, dtype=np.int64)
    if reverse:
        order[:-1] = order[:-1][::-1].copy()
    return order
