"""Reading sources as they come: many at a time from a file, one by one from a person."""

from __future__ import annotations

import io
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from jumok.config import DataConfig
from jumok.data import read_sources
from jumok.data.lines import ByteStream
from jumok.errors import ConfigError, DataError


def source_lines(file: str, encoding: str) -> Iterator[str]:
    """Lines of a file, or of stdin for ``-``."""
    try:
        yield from read_sources(_stdin() if file == "-" else file, DataConfig(encoding=encoding))
    except DataError as error:
        raise DataError(_here(error.reason), path=error.path, line=error.line) from None
    except ConfigError as error:
        raise ConfigError(_here(str(error))) from None


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


def _stdin() -> ByteStream:
    """Standard input with a buffer of its own: Python aborts at exit if a thread waits in its."""
    try:
        raw = io.FileIO(sys.stdin.fileno(), closefd=False)
    except OSError:  # not a real file, as in a test
        return sys.stdin.buffer
    raw.name = "<stdin>"
    return io.BufferedReader(raw)


def windows(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    """Everything that has arrived, up to ``size`` lines at once; waits only for the first.

    So a file is read in large batches, and someone typing gets an answer to every line.
    """
    arrived: queue.Queue[str | BaseException | None] = queue.Queue(maxsize=4 * size)

    def read() -> None:
        try:
            for line in lines:
                arrived.put(line)
            arrived.put(None)
        except BaseException as error:  # handed to the main thread
            arrived.put(error)

    threading.Thread(target=read, daemon=True).start()
    last: str | BaseException | None = ""
    while isinstance(last, str):
        window: list[str] = []
        last = arrived.get()
        while isinstance(last, str):
            window.append(last)
            if len(window) == size or arrived.empty():
                break
            last = arrived.get()
        if window:
            yield window
    if last is not None:
        raise last
