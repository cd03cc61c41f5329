"""Training files as parts that can be gone through again: kept in memory, or read anew."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import compress
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt64

from jumok.config import DataConfig
from jumok.data.lines import BadLine
from jumok.data.pairs import Pair
from jumok.data.readers import stream_pairs, stream_texts
from jumok.data.split import held_out, source_hash
from jumok.errors import DataError

Read = Callable[[], Iterator[Pair | BadLine]]
MOST_SHOWN = 10
"""Bad lines that are kept to be shown."""


class Part(NamedTuple):
    """The pairs of one file."""

    pairs: Iterable[Pair]
    sources: UInt64[np.ndarray, "pairs"]
    """`source_hash` of each."""

    def kept(self, keep: Bool[np.ndarray, "pairs"]) -> Part:
        """Those where ``keep`` is True."""
        if isinstance(self.pairs, _Anew):
            return Part(self.pairs.kept(keep), self.sources[keep])
        return Part(list(compress(self.pairs, keep)), self.sources[keep])


class Parts(NamedTuple):
    """The pairs of several files, and the lines that are none."""

    parts: list[Part]
    bad: list[BadLine]
    """The first `MOST_SHOWN` lines that were skipped."""
    bad_lines: int


class _Anew(Iterable[Pair]):
    """Pairs that are read whenever they are gone through: the same ones, or `DataError`."""

    def __init__(
        self,
        path: str,
        read: Read,
        sources: UInt64[np.ndarray, "pairs"],
        hash_of: Callable[[Pair], int],
        keep: Bool[np.ndarray, "pairs"] | None = None,
    ) -> None:
        self._path, self._read, self._sources, self._hash = path, read, sources, hash_of
        self._keep = np.ones(len(sources), bool) if keep is None else keep

    def __iter__(self) -> Iterator[Pair]:
        return compress(self._all(), self._keep)

    def kept(self, keep: Bool[np.ndarray, "kept"]) -> _Anew:
        """Of those that are left, the ones where ``keep`` is True."""
        both = self._keep.copy()
        both[both] = keep
        return _Anew(self._path, self._read, self._sources, self._hash, both)

    def _all(self) -> Iterator[Pair]:
        known = map(int, self._sources)
        for item in self._read():
            if isinstance(item, Pair):
                if self._hash(item) != next(known, None):
                    raise self._changed()
                yield item
        if next(known, None) is not None:
            raise self._changed()

    def _changed(self) -> DataError:
        return DataError(
            "the file has changed while it was read. Leave it alone, and begin again",
            path=self._path,
        )


def read_parts(
    paths: Sequence[str],
    config: DataConfig,
    *,
    features: bool = False,
    texts_alone: bool = False,
    lowercase: bool = False,
    in_memory: bool = True,
    tell: Callable[[int], None] = lambda read: None,
) -> Parts:
    """Go through files of pairs (or, ``texts_alone``, of targets without sources) for the first
    time. With ``features``, sources must begin with some. ``lowercase`` goes to `source_hash`.

    Raises `DataError` for a bad line (unless ``config.skip_bad_lines``), a bad file, and a file
    that gives nothing.
    """
    found, bad, bad_lines, read = [], list[BadLine](), 0, 0
    hash_of = partial(source_hash, lowercase=lowercase)
    for path in paths:
        stream: Read = (
            partial(stream_texts, path, config)
            if texts_alone
            else partial(stream_pairs, path, config, features)
        )
        kept, hashes = list[Pair](), array("Q")
        for item in stream():
            if not isinstance(item, Pair):
                bad_lines += 1
                if len(bad) < MOST_SHOWN:
                    bad.append(item)
                continue
            hashes.append(hash_of(item))
            if in_memory:
                kept.append(item)
            read += 1
            if not read % 10_000:
                tell(read)
        sources = np.array(hashes, np.uint64)
        pairs = kept if in_memory else _Anew(path, stream, sources, hash_of)
        found.append(Part(pairs, sources))
    return Parts(found, bad, bad_lines)


def split_parts(
    parts: Sequence[Part], fraction: float, seed: int, texts_alone: bool = False
) -> tuple[list[Part], list[Part]]:
    """Train and dev, in the order of the files, as `held_out` divides them."""
    every = np.concatenate([part.sources for part in parts])
    dev = held_out(every, fraction, seed, not texts_alone)
    masks = np.split(dev, np.cumsum([len(part.sources) for part in parts])[:-1])
    both = list(zip(parts, masks, strict=True))
    return [part.kept(~mask) for part, mask in both], [part.kept(mask) for part, mask in both]
