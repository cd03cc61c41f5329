"""Numbered lines of a text file, plain or gzip, with every way a line can be broken found here.

Two kinds of trouble: a **bad line** is yielded as `BadLine` in its place, and reading goes on; a
**bad file** (missing, binary, cut off) raises `DataError`. Lines end at LF or CRLF and at nothing
else: U+2028, U+0085 and their like are text.
"""

from __future__ import annotations

import codecs
import difflib
import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

from jumok.errors import ConfigError, DataError
from jumok.text.hangul import is_syllable

MAX_LINE = 1_000_000
"""Most characters in a line. A longer one is never read into memory as a whole."""
OR_SKIP = "or set data.skip_bad_lines=true"

_ENDLESS = 100
"""A line longer than this many times `MAX_LINE` is not even skipped: it may have no end."""
_UNDECODED = re.compile("[\ud800-\udfff]")
"""What `surrogateescape` leaves of bytes that are no text."""
_GZIP = b"\x1f\x8b"
_OTHER_ENCODINGS = "(such as cp949, shift_jis or latin-1)"


# an open binary file, standard input, bytes in memory: declared to be the one, and all the other
if TYPE_CHECKING:
    ByteStream = BinaryIO
else:
    ByteStream = io.BufferedIOBase


class Line(NamedTuple):
    """One line without its end; ``number`` counts from 1."""

    number: int
    text: str


BadKind = Literal["encoding", "empty-side", "bad-line"]


class BadLine(DataError):  # noqa: N818 - one line is bad, the file need not be
    """A line that cannot be used; the lines after it may be fine. ``kind`` tells why in a word."""

    def __init__(
        self,
        reason: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        kind: BadKind = "bad-line",
    ) -> None:
        super().__init__(reason, path=path, line=line)
        self.kind: BadKind = kind

    @property
    def plain_reason(self) -> str:
        """The reason where skipping is nothing to advise."""
        return self.reason.removesuffix(f", {OR_SKIP}")


Watch = Callable[[io.BufferedReader], None]
"""Is handed a file that was opened, to see while it is read how far that has come."""


class Progress:
    """How much has been read of so many files, which are opened with `watch`."""

    def __init__(self, files: int = 1) -> None:
        self._files = files
        self._opened: list[io.BufferedReader] = []

    def watch(self, file: io.BufferedReader) -> None:
        """A `Watch`."""
        self._opened.append(file)

    def share(self) -> float | None:
        """Of 1, each file counting the same; None before one was opened."""
        if not self._opened:
            return None
        within = (
            1.0 if file.closed else file.tell() / max(1, os.fstat(file.fileno()).st_size)
            for file in self._opened
        )
        return sum(within) / self._files


def read_lines(path: Path, encoding: str, watch: Watch | None = None) -> Iterator[Line | BadLine]:
    """Lines of ``path`` (gzip is found by its content). Raises `DataError` for a bad file."""
    check_encoding(encoding)
    with opened(path, watch) as stream:
        _check_head(stream.peek(4096), path, encoding)
        yield from stream_lines(stream, path, encoding)


def stream_lines(stream: ByteStream, path: Path, encoding: str) -> Iterator[Line | BadLine]:
    """Lines of an open binary stream, which stays open. ``path`` is its name in messages."""
    # undecodable bytes become surrogates, so one bad byte costs one line and not the file
    text = io.TextIOWrapper(
        stream, encoding=encoding, errors="surrogateescape", newline="\n", write_through=True
    )
    number = 0
    try:
        while raw := text.readline(MAX_LINE + 1):
            number += 1
            if len(raw) > MAX_LINE and not raw.endswith("\n"):
                reason = f"the line is longer than {MAX_LINE} characters. Divide it, {OR_SKIP}"
                yield BadLine(reason, path=path, line=number)
                _skip_rest(text, path, number)  # which may be long, so only if anybody goes on
                continue
            if number == 1 and not (raw := raw.removeprefix("\ufeff")):
                break
            line = raw.removesuffix("\n").rstrip("\r")
            problem = _problem(line, path, number, encoding)
            yield problem or Line(number, line)
    except UnicodeError as error:
        raise DataError(
            f"the text is not valid {encoding} ({getattr(error, 'reason', error)}) after line "
            f"{number}. Set data.encoding to the file's encoding",
            path=path,
        ) from None
    finally:
        if not text.closed:  # by the caller, while this generator waited
            text.detach()


@contextmanager
def opened(path: Path, watch: Watch | None = None) -> Iterator[io.BufferedReader]:
    """The file's bytes, unzipped where it is gzip. Raises `DataError` where reading fails."""
    check_file(path)
    try:
        with path.open("rb") as file:
            if watch is not None:
                watch(file)
            if file.peek(2)[:2] == _GZIP:
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield io.BufferedReader(unzipped)
            elif path.name.lower().endswith(".gz"):
                raise DataError(
                    "the name ends in .gz, but the content is not gzip. Compress it, or rename it",
                    path=path,
                )
            else:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"the gzip file is cut off or damaged ({error}). Copy or download it again", path=path
        ) from None
    except OSError as error:
        raise refused(error, path) from None


def check_file(path: Path) -> None:
    """Raise `DataError` unless ``path`` is there to be read as a file."""
    if is_directory(path):
        raise DataError("a file was expected, but a directory came. Name a file in it", path=path)
    try:
        if path.exists():
            return
        link = path.is_symlink()
    except OSError as error:
        raise refused(error, path) from None
    if link:
        raise DataError("the link leads to no file. Make it anew, or name the file", path=path)
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:  # there is no such directory, or one that may not be listed
        names = []
    close = difflib.get_close_matches(path.name, names, n=1)
    hint = f"Did you mean '{path.parent / close[0]}'?" if close else "Check the name"
    raise DataError(f"there is no such file. {hint}", path=path)


def is_directory(path: Path) -> bool:
    """Whether ``path`` is a directory. Raises `DataError` where the system does not tell."""
    try:
        return path.is_dir()
    except OSError as error:
        raise refused(error, path) from None


def check_encoding(encoding: str) -> None:
    """Raise `ConfigError` unless Python has a text encoding of this name."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        raise ConfigError(
            f"data.encoding={encoding} is not a known text encoding. Use utf-8, or the one the "
            f"file was written in {_OTHER_ENCODINGS}"
        ) from None


def refused(error: OSError, path: Path) -> DataError:
    """What to raise where the system does not let ``path`` be read."""
    return DataError(
        f"the file cannot be read ({error.strerror or error}). Check its permissions", path=path
    )


def _check_head(head: bytes, path: Path, encoding: str) -> None:
    """Raise `DataError` where the first bytes show a binary file or UTF-16."""
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return
    if guess := _utf16(head):
        raise DataError(
            f"the text is not {encoding}; it looks like {guess}: set data.encoding={guess}",
            path=path,
        )
    if 0 in head and not is_valid(head, encoding):
        raise DataError(
            "a text file was expected, but this looks like a binary file. Export it as text "
            "(TSV, CSV or JSONL)",
            path=path,
        )


def _utf16(head: bytes) -> str:
    """The UTF-16 encoding that ``head`` seems to have, or empty."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # without a mark: every other byte of ASCII is NUL, and none decodes to a control character
    guess = "utf-16-le" if head[1::2].count(0) > head[0::2].count(0) else "utf-16-be"
    text = head[: len(head) // 2 * 2].decode(guess, "replace")
    likely = head.count(0) > len(head) / 8 and all(c.isprintable() or c in "\t\r\n" for c in text)
    return guess if likely else ""


def is_valid(head: bytes, encoding: str) -> bool:
    """Whether ``head`` is the beginning of a text in ``encoding``."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)  # a last half character is fine
    except UnicodeDecodeError:
        return False
    return True


def _skip_rest(text: io.TextIOWrapper, path: Path, number: int) -> None:
    for _ in range(_ENDLESS):
        if len(chunk := text.readline(MAX_LINE)) < MAX_LINE or chunk.endswith("\n"):
            return
    raise DataError(
        f"the line has no end in {_ENDLESS * MAX_LINE} characters. Give a file of lines",
        path=path,
        line=number,
    )


def _problem(line: str, path: Path, number: int, encoding: str) -> BadLine | None:
    """What makes ``line`` unusable in any format; None if nothing."""
    kind: BadKind = "bad-line"
    if "\0" in line:
        reason = (
            "the line has a NUL character, as binary and UTF-16 files do. Remove it, set "
            f"data.encoding, {OR_SKIP}"
        )
    elif "\r" in line:
        reason = (
            "there is a carriage return inside the line. Save the file with LF or CRLF line ends, "
            f"remove it, {OR_SKIP}"
        )
    elif not line.isascii() and _UNDECODED.search(line):
        kind = "encoding"
        reason = f"the line is not valid {encoding}. {guess_encoding(line, encoding)}, {OR_SKIP}"
    else:
        return None
    return BadLine(reason, path=path, line=number, kind=kind)


def guess_encoding(line: str, encoding: str) -> str:
    """Advice on the encoding that ``line`` seems to have been written in."""
    raw = line.encode(encoding, "surrogateescape")
    for other in ("utf-8", "cp949"):
        try:
            wide = [char for char in raw.decode(other) if not char.isascii()]
        except UnicodeDecodeError:
            continue
        if other == "utf-8" or 2 * sum(map(is_syllable, wide)) > len(wide):
            return f"It looks like {other}: set data.encoding={other}"
    return f"Set data.encoding to the file's encoding {_OTHER_ENCODINGS}"
