"""Reading input as it comes: many at a time from a file, one by one from a person."""

from __future__ import annotations

import io
import queue
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jumok.config import DataConfig, parse_settings
from jumok.data import BadLine, Pair, read_sources, stream_pairs
from jumok.data.lines import ByteStream, Progress, Watch
from jumok.errors import ConfigError, DataError, InputError, JumokError

R = TypeVar("R")
T = TypeVar("T")

READING = frozenset(
    f"data.{field}"
    for field in (
        "format",
        "source_column",
        "target_column",
        "features_column",
        "encoding",
        "skip_bad_lines",
    )
)
"""What commands with a trained model, and `jumok data`, may be told of their files."""


def split_settings(
    settings: Iterable[str] | None, more: Container[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of files, and ``more``; and all other settings.

    The files of a command need not look like those that its model was trained on, so only what is
    said with the command holds for them.
    """
    others = parse_settings(settings or ())
    own = {key: others.pop(key) for key in list(others) if key in READING or key in more}
    return own, others


def say_skipped(bad: Sequence[DataError]) -> None:
    """How many lines were not read, on stderr."""
    if bad:
        print(f"{len(bad):,} bad lines skipped, the first: {bad[0]}", file=sys.stderr)


class Source:
    """Lines of a file, or of stdin for ``-``, and how far they have been read."""

    def __init__(self, file: str, encoding: str) -> None:
        self.file, self.encoding = file, encoding
        self.name = "<stdin>" if file == "-" else file
        self._progress = Progress()

    def lines(self) -> Iterator[str]:
        """The lines, which can be asked for once."""
        return source_lines(self.file, self.encoding, self._progress.watch)

    def windows(self, lines: Iterator[str], size: int) -> Iterator[list[str]]:
        """What is left of the lines: a file's in full windows, a stream's as they arrive."""
        return (full_windows if self._is_file else windows)(lines, size)

    def share(self) -> float | None:
        """How much of a file has been read, of 1; None for a stream, whose end nobody knows."""
        return (self._progress.share() or 0.0) if self._is_file else None

    @property
    def _is_file(self) -> bool:
        return self.file != "-" and Path(self.file).is_file()


def source_lines(file: str, encoding: str, watch: Watch | None = None) -> Iterator[str]:
    """Lines of a file, or of stdin for ``-``."""
    try:
        source = stdin() if file == "-" else file
        yield from read_sources(source, DataConfig(encoding=encoding), watch)
    except DataError as error:
        raise DataError(_here(error.reason), path=error.path, line=error.line) from None
    except ConfigError as error:
        raise ConfigError(_here(str(error))) from None


def pairs_of(files: Sequence[str], config: DataConfig, features: bool) -> Iterator[Pair | BadLine]:
    """Pairs of all files in order, of stdin for ``-``, and in their places the lines to skip."""
    for file in files:
        yield from stream_pairs(stdin() if file == "-" else file, config, features)


def read_dictionary(path: Path, encoding: str) -> dict[str, str]:
    """Source tokens and what stands for them, from two columns; blank lines are left out."""
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(source_lines(str(path), encoding), start=1):
        source, tab, target = line.partition("\t")
        if line and not tab:
            raise DataError(
                "2 columns divided by a tab were expected, a source token and what stands for it, "
                f"but {line!r:.60} came",
                path=path,
                line=number,
            )
        if line and found.setdefault(source, target) != target:
            raise DataError(
                f"one entry for {source!r:.60} was expected, but line {lines[source]} says "
                f"{found[source]!r:.60} and this one {target!r:.60}. Leave one out",
                path=path,
                line=number,
            )
        lines.setdefault(source, number)
    return found


def _here(message: str) -> str:
    """With the setting's name on this command line."""
    return message.replace("data.encoding=", "--encoding ").replace("data.encoding", "--encoding")


def stdin() -> ByteStream:
    """Standard input with a buffer of its own: Python aborts at exit if a thread waits in its."""
    try:
        raw = io.FileIO(sys.stdin.fileno(), closefd=False)
    except OSError:  # not a real file, as in a test
        return sys.stdin.buffer
    raw.name = "<stdin>"
    return io.BufferedReader(raw)


def answer_window(
    items: Sequence[T], answer: Callable[[Sequence[T]], R]
) -> tuple[int, R, InputError | None]:
    """``answer`` to the items before the first bad one: how many, the answer, and what is wrong.

    It raises `InputError`, with the item's ``index``, before it answers any; what is wrong with one
    may hide what is wrong with an earlier one.
    """
    good, bad = len(items), None
    while True:
        try:
            return good, answer(items[:good]), bad
        except InputError as error:
            if error.index is None:
                raise
            good, bad = error.index, error


def answer_all(
    items: Iterator[T],
    answer: Callable[[Sequence[T]], None],
    place: Callable[[int], str],
    size: int,
) -> None:
    """Have all items answered, up to ``size`` at once; where one is bad, those before it first.

    Raises `InputError` with the ``place`` of the item, which counts from 1.
    """
    before = 0
    for window in windows(items, size):
        good, _, bad = answer_window(window, answer)
        if bad is not None:
            raise InputError(f"{place(before + good + 1)}: {bad}")
        before += len(window)


def answer_pairs(
    files: Sequence[str],
    config: DataConfig,
    features: bool,
    answer: Callable[[list[Pair], Sequence[Pair | BadLine]], None],
) -> None:
    """Have all pairs of files answered: ``answer`` is given some, and these again with the lines
    to skip in their places. Raises as `answer_all` does."""
    skipped: list[DataError] = []

    def answer_good(items: Sequence[Pair | BadLine]) -> None:
        places = [place for place, item in enumerate(items) if isinstance(item, Pair)]
        try:
            answer([item for item in items if isinstance(item, Pair)], items)
        except InputError as error:
            index = None if error.index is None else places[error.index]
            raise InputError(str(error), index=index) from None
        skipped.extend(item for item in items if isinstance(item, BadLine))

    items = pairs_of(files, config, features)
    answer_all(items, answer_good, lambda number: _place(files, number), size=1024)
    say_skipped(skipped)


@contextmanager
def naming_pairs(files: Sequence[str], numbers: Sequence[int]) -> Iterator[None]:
    """Say of which pair of the files an `InputError` is; ``numbers`` are those of all pairs."""
    try:
        yield
    except InputError as error:
        if error.index is None:
            raise
        raise InputError(f"{_place(files, numbers[error.index])}: {error}") from None


def _place(files: Sequence[str], number: int) -> str:
    return f"pair {number} of {' '.join(files)}"


def full_windows(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    """``size`` lines at once, always the same ones; fewer only at the end, or before an error."""
    error = None
    while error is None:
        window: list[str] = []
        try:
            for line in islice(lines, size):
                window.append(line)
        except JumokError as found:
            error = found
        if window:
            yield window
        if error is None and len(window) < size:
            return
    raise error


class _End(NamedTuple):
    """After the last item; or the reason why there are no more."""

    error: BaseException | None = None


def windows(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Everything that has arrived, up to ``size`` items at once; waits only for the first.

    So a full pipe is read in large batches, and someone typing gets an answer to every line.
    """
    arrived: queue.Queue[T | _End] = queue.Queue(maxsize=4 * size)

    def read() -> None:
        try:
            for item in items:
                arrived.put(item)
            arrived.put(_End())
        except BaseException as error:  # handed to the main thread
            arrived.put(_End(error))

    threading.Thread(target=read, daemon=True).start()
    last: T | _End | None = None
    while not isinstance(last, _End):
        window: list[T] = []
        last = arrived.get()
        while not isinstance(last, _End):
            window.append(last)
            if len(window) == size or arrived.empty():
                break
            last = arrived.get()
        if window:
            yield window
    if last.error is not None:
        raise last.error
