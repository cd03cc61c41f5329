"""Many short sequences as one long array: in memory, or mapped from files that may be larger.

On disk NAME.values has all of them one after the other, and NAME.bounds (int64) where each ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
from jaxtyping import Int

from jumok.data.pairs import Pair
from jumok.storage import storage_errors

_BOUND = np.dtype(np.int64)


class Ragged(Sequence[np.ndarray]):
    """Sequence i is ``values[ends[i - 1] : ends[i]]``."""

    def __init__(self, values: np.ndarray, ends: Int[np.ndarray, "rows"]) -> None:
        self.values, self.ends = values, ends

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        i = index % len(self)
        return self.values[self.ends[i - 1] if i else 0 : self.ends[i]]

    @property
    def lengths(self) -> Int[np.ndarray, "rows"]:
        """Of every sequence."""
        return np.diff(self.ends, prepend=0).astype(np.int32)


class RaggedWriter:
    """Makes a `Ragged` a few sequences at a time.

    Args:
        path: where its files begin, without their endings; None: in memory.
        dtype: of the values.
        rows: go on after so many sequences of files that are there, and forget the rest.
    """

    def __init__(self, path: Path | None, dtype: np.dtype, rows: int = 0) -> None:
        self._dtype, self._path = dtype, path
        self._values: list[np.ndarray] = []
        self._ends: list[np.ndarray] = []
        self._end = 0
        self._files: tuple[BinaryIO, ...] = ()
        if path is None:
            return
        values, ends = _files(path)
        if rows:
            self._end = int(np.fromfile(ends, _BOUND, 1, offset=(rows - 1) * _BOUND.itemsize)[0])
        with storage_errors(path):
            self._files = values.open("ab"), ends.open("ab")
            self._files[0].truncate(self._end * dtype.itemsize)
            self._files[1].truncate(rows * _BOUND.itemsize)

    def extend(self, rows: Sequence[Sequence[int] | np.ndarray]) -> None:
        """Add sequences."""
        if not rows:
            return
        parts = [np.asarray(row, dtype=self._dtype) for row in rows]
        values = np.concatenate(parts)
        ends = self._end + np.cumsum([len(part) for part in parts], dtype=_BOUND)
        self._end = int(ends[-1])
        if self._path is None:
            self._values.append(values)
            self._ends.append(ends)
            return
        with storage_errors(self._path):
            self._files[0].write(values.tobytes())
            self._files[1].write(ends.tobytes())

    def flush(self) -> None:
        """Bring what was written to the disk."""
        if self._path is not None:
            with storage_errors(self._path):
                for file in self._files:
                    file.flush()
                    os.fsync(file.fileno())

    def close(self) -> None:
        """Nothing more comes."""
        if self._path is not None:
            with storage_errors(self._path), ExitStack() as every:
                for file in self._files:
                    every.callback(file.close)

    def finish(self) -> Ragged:
        """All of it."""
        if self._path is not None:
            self.flush()
            self.close()
            return open_ragged(self._path, self._dtype)
        values, ends = np.zeros(0, self._dtype), np.zeros(0, _BOUND)
        return Ragged(np.concatenate([values, *self._values]), np.concatenate([ends, *self._ends]))


def open_ragged(path: Path, dtype: np.dtype) -> Ragged:
    """Map what a `RaggedWriter` has written."""
    values, ends = _files(path)
    return Ragged(_mapped(values, dtype), _mapped(ends, _BOUND))


def _files(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.values"), path.with_name(f"{path.name}.bounds")


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    if not path.stat().st_size:  # there is nothing to map
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")


class TextPairs(Sequence[Pair]):
    """Pairs of texts that lie on the disk, as UTF-8."""

    def __init__(self, source: Ragged, target: Ragged) -> None:
        self._sides = source, target

    def __len__(self) -> int:
        return len(self._sides[0])

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return Pair(*(side[index].tobytes().decode("utf-8") for side in self._sides))


def as_bytes(texts: Iterable[str]) -> list[np.ndarray]:
    """Texts as they lie on the disk."""
    return [np.frombuffer(text.encode("utf-8"), dtype=np.uint8) for text in texts]
