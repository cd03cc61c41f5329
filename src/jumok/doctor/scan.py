"""One pass over files: a row of numbers for each line, and no text."""

from __future__ import annotations

import io
import os
import tempfile
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt, UInt8, UInt32, UInt64

from jumok.config import DataConfig, TextConfig
from jumok.data import BadLine, Row, files_of, stream_rows
from jumok.data.lines import MAX_LINE, ByteStream, Progress, Watch, is_directory
from jumok.data.split import text_hash
from jumok.doctor.characters import look, script_group
from jumok.doctor.kinds import BITS, UNREADABLE
from jumok.errors import DataError
from jumok.progress import Tell
from jumok.storage import storage_errors
from jumok.text.normal import normalise

_OFTEN = 4096
"""Lines between two words of progress."""
_CHUNK = 1 << 20


class Spool:
    """A stream that can be read twice, as it is kept in a temporary file."""

    def __init__(self, stream: ByteStream) -> None:
        self.name = str(getattr(stream, "name", "input"))
        folder = Path(tempfile.gettempdir())
        with storage_errors(folder):
            self._kept = tempfile.NamedTemporaryFile(buffering=0)  # noqa: SIM115 - see __exit__
        while chunk := stream.read(_CHUNK):
            with storage_errors(folder):
                while chunk:
                    chunk = chunk[self._kept.write(chunk) :]

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kept.close()

    def open(self) -> io.BufferedReader:
        """The stream from its beginning, under its own name."""
        raw = io.FileIO(os.dup(self._kept.fileno()))
        raw.seek(0)
        raw.name = self.name
        return io.BufferedReader(raw)


File = str | Path | Spool
"""A file of pairs, ``SOURCE,TARGET``, or a stream that was kept."""
Files = Sequence[File] | File


class Columns(NamedTuple):
    """What is known of each line, a column for each thing: 42 bytes a line.

    Texts are compared as tokenizers see them, in Unicode NFC and, where these ignore case, in lower
    case, by 64 bits of BLAKE2b. Among five million different ones, the chance that any two are
    taken for the same is about one in a million.
    """

    flags: UInt32[np.ndarray, "lines"]
    """Findings, as `BITS` numbers them."""
    line: UInt32[np.ndarray, "lines"]
    """Its number in its file."""
    source: UInt64[np.ndarray, "lines"]
    target: UInt64[np.ndarray, "lines"]
    source_length: UInt32[np.ndarray, "lines"]
    """In characters of the normal form; 0 where there is no pair."""
    target_length: UInt32[np.ndarray, "lines"]
    source_script: UInt8[np.ndarray, "lines"]
    """The number of the script that most letters are of; 0 where there are none."""
    target_script: UInt8[np.ndarray, "lines"]
    source_scripts: UInt32[np.ndarray, "lines"]
    """Bit n is set where there are letters of script n; the last one stands for all others, too."""
    target_scripts: UInt32[np.ndarray, "lines"]

    def take(self, rows: Int64[np.ndarray, "some"]) -> Columns:
        """Only some lines, each once and in order."""
        if len(rows) == len(self.flags):
            return self  # a copy might not fit beside it
        return Columns(*(column[rows] for column in self))

    @property
    def pair(self) -> UInt64[np.ndarray, "lines"]:
        """One number for both texts."""
        return self.source * np.uint64(0x9E3779B97F4A7C15) ^ self.target

    @property
    def readable(self) -> Int64[np.ndarray, "some"]:
        """The lines with a pair."""
        return np.flatnonzero(self.flags & UNREADABLE == 0)


class Scan:
    """Files read once, and again for what one wants to see of them.

    Only `columns` grow with the files: five million pairs take some 210 MB, and about as much again
    while they are compared.
    """

    def __init__(
        self,
        files: Files,
        data: DataConfig | None = None,
        text: TextConfig | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.files = [files] if isinstance(files, File) else list(files)
        if not self.files:
            raise DataError("a file of pairs was expected, but none was named. Name one or more")
        self.names = [file.name if isinstance(file, Spool) else str(file) for file in self.files]
        self._config = (data or DataConfig()).model_copy(update={"skip_bad_lines": True})
        text = text or TextConfig()
        self._lowercase = text.source.lowercase, text.target.lowercase
        self._tell = tell
        self._read_in_all = sum(map(self._count, self.files))
        self._starts: list[int] = []
        self._parts: list[tuple[int, str]] = []
        """What begins with the lines ``_starts``: the place of a file in ``files``, and the name of
        it, or of one in it where it is a directory."""
        self.letters: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        """How many letters there are of each script, in sources and in targets."""
        self.columns = self._read()

    def __len__(self) -> int:
        return len(self.columns.flags)

    def place(self, row: int) -> tuple[str, int]:
        """The name of the file and the number of the line."""
        return self._part(row)[1], int(self.columns.line[row])

    def rows(self, what: str) -> Iterator[Row | BadLine]:
        """Every line of every file, with a word of progress now and then: "reading", say.

        Raises `DataError` where a file is not as it was when it was read first.
        """
        number = 0
        for file, row in self._rows(what):
            known = self._part(min(number, len(self) - 1))[0]
            if number == len(self) or file != known or not self._is_known(number, row):
                raise self._changed(min(file, known))
            yield row
            number += 1
        if number < len(self):
            raise self._changed(self._part(number)[0])

    def _part(self, row: int) -> tuple[int, str]:
        return self._parts[bisect_right(self._starts, row) - 1]

    def _is_known(self, number: int, row: Row | BadLine) -> bool:
        """Whether a line reads as it did at first."""
        columns = self.columns
        if (row.line or 0) != columns.line[number]:
            return False
        if isinstance(row, BadLine):
            return bool(columns.flags[number] & BITS[row.kind])
        source, target = map(self._hash, row.pair, self._lowercase)
        return bool(source == columns.source[number] and target == columns.target[number])

    def _changed(self, file: int) -> DataError:
        return DataError(
            "the file has changed while it was checked. Check it again, and leave it alone",
            path=self.names[file],
        )

    def _rows(self, what: str) -> Iterator[tuple[int, Row | BadLine]]:
        """Every line, with the place of its file."""
        number, progress = 0, Progress(self._read_in_all)
        for place, file in enumerate(self.files):
            for row in self._stream(file, progress.watch):
                if number % _OFTEN == 0 and self._tell is not None:
                    self._tell(what, number, progress.share())
                number += 1
                yield place, row

    def _stream(self, file: File, watch: Watch) -> Iterator[Row | BadLine]:
        if isinstance(file, Spool):
            with file.open() as stream:
                watch(stream)
                yield from stream_rows(stream, self._config)
        else:
            yield from stream_rows(file, self._config, watch=watch)

    def _count(self, file: File) -> int:
        """How many files are read. Raises `DataError` for what cannot be read twice."""
        paths = [] if isinstance(file, Spool) else files_of(file, self._config.format)
        for path in paths:
            if not path.is_file():
                raise DataError(
                    "a file was expected, as it is read twice, but this is a pipe or device. Save "
                    "what comes from it, or give it as -, on stdin",
                    path=path,
                )
        return len(paths) or 1

    def _read(self) -> Columns:
        kept = [array(code) for code in "IIQQIIBBII"]
        codes = {"": 0}  # script: number
        folders = [not isinstance(file, Spool) and is_directory(Path(file)) for file in self.files]
        for number, (file, row) in enumerate(self._rows("reading")):
            part = file, str(row.path) if folders[file] else self.names[file]
            if not self._parts or part != self._parts[-1]:
                self._starts.append(number)
                self._parts.append(part)
            if isinstance(row, BadLine):
                found = (BITS[row.kind], row.line or 0, *[0] * 8)
            else:
                found = self._numbers(row, codes)
            for column, value in zip(kept, found, strict=True):
                column.append(value)
        return Columns(*(_as_numpy(column) for column in kept))

    def _numbers(self, row: Row, codes: dict[str, int]) -> tuple[int, ...]:
        """The columns of a pair."""
        flags, hashes, lengths, main, every = 0, [], [], [], []
        sides = zip(row.pair, self.letters, self._lowercase, strict=True)
        for text, letters, lowercase in sides:
            normal = normalise(text, "NFC")
            seen = look(text, normal)
            flags |= seen.flags
            hashes.append(self._hash(normal, lowercase))
            lengths.append(len(normal))
            letters.update(seen.scripts)
            groups: Counter[str] = Counter()
            for script, count in seen.scripts.items():
                groups[script_group(script)] += count
            numbers = [codes.setdefault(script, len(codes)) for script, _ in groups.most_common()]
            main.append(numbers[0] if numbers else 0)
            every.append(sum(1 << number for number in {min(number, 31) for number in numbers}))
        if sum(map(len, row.pair)) > MAX_LINE - len("\ufeff\t"):
            flags |= BITS["long-line"]
        if hashes[0] == hashes[1]:
            flags |= BITS["identical-sides"]
        return flags, row.line, *hashes, *lengths, *main, *every

    @staticmethod
    def _hash(text: str, lowercase: bool) -> int:
        return text_hash(normalise(text, "NFC", lowercase))


def _as_numpy(column: array[int]) -> UInt[np.ndarray, "lines"]:
    return np.frombuffer(column, dtype=f"u{column.itemsize}")
