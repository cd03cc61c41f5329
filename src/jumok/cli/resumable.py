"""An output file that grows window by window, and goes on where a kill left it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from io import FileIO
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

from jumok.errors import ConfigError, DataError
from jumok.storage import alone, storage_errors, write_atomic


class _State(TypedDict):
    """What the journal holds: who made the output, and how much of it is whole."""

    made_by: dict[str, Any]
    lines: int
    """of the input that are answered"""
    input_sha256: str
    """of these lines"""
    bytes: int
    """of the output that answer them"""
    output_sha256: str
    """of these bytes"""


class ResumableOutput:
    """Answers in a file, with a journal ``FILE.progress.json`` beside it until all are there.

    A window's answers are flushed to the disk first, then the journal is replaced by one that
    counts them. So what the journal counts is whole whatever the moment of a kill, and what lies
    behind it in the file is cut off when the job goes on. Nothing is written before the first
    window. A lock beside the file keeps other jobs away until this one ends.

    Args:
        path: the file. Without ``resume`` there must be none.
        made_by: whatever the answers depend on, as plain data.
        resume: go on with what is there, if there is something.

    Raises `ConfigError` for a folder, and for a file that is there, that another job wrote, or that
    one is writing.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any], resume: bool) -> None:
        if path.is_dir():
            raise ConfigError(f"The output {path} is a folder. Give the name of a new file")
        self.path = path
        self.journal = path.with_name(f"{path.name}.progress.json")
        self.made_by: dict[str, Any] = json.loads(json.dumps(made_by))
        self.lines = 0
        """Lines of the input that are answered."""
        self._bytes = 0
        self._input, self._output = hashlib.sha256(), hashlib.sha256()
        self._input_before = self._input.hexdigest()
        self._file: FileIO | None = None
        self._is_ours = False
        """What is at the path, if anything, is of this job."""
        with ExitStack() as held:
            held.enter_context(self._alone())
            if resume:
                self._go_on()
            elif path.exists():
                raise self._exists()
            self._held = held.pop_all()

    def __enter__(self) -> ResumableOutput:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._held:
            if self._file is not None:
                self._file.close()

    def skip(self, lines: Iterator[str], name: str) -> None:
        """Pass over the lines that are answered. Raises `DataError` unless they are the same."""
        before = _add_to(islice(lines, self.lines), self._input)
        if before != self.lines or self._input.hexdigest() != self._input_before:
            raise DataError(
                f"the first {self.lines:,} lines are not those that {self.path} answers. Go on "
                "with the same input, or begin a new output",
                path=name,
            )

    def write(self, lines: Sequence[str], text: str) -> None:
        """Keep the answers to some lines. Raises `StorageError`, and keeps those before."""
        with storage_errors(self.path):
            file = self._file or self._opened()
            rest = memoryview(raw := text.encode("utf-8", "replace"))
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(self._bytes)
                raise
        self._output.update(raw)
        self._bytes += len(raw)
        self.lines += _add_to(lines, self._input)
        self._commit()

    def finish(self) -> None:
        """All lines are answered."""
        self.write([], "")  # an empty input has an empty output
        self.journal.unlink()

    def _opened(self) -> FileIO:
        """The file, at the end of what is whole. Another's that has come meanwhile is refused."""
        there = self._is_ours and self.path.exists()
        try:
            file = self._file = self.path.open("r+b" if there else "xb", buffering=0)
        except FileExistsError:
            raise self._exists() from None
        file.truncate(self._bytes)
        file.seek(self._bytes)
        if not self._bytes:
            self._commit()  # a kill before this leaves an empty file, which can be gone on with
        return file

    def _alone(self) -> AbstractContextManager[None]:
        return alone(
            self.path,
            f"Another job is writing {self.path}. Wait until it has ended, or name another output",
        )

    def _exists(self) -> ConfigError:
        return ConfigError(
            f"The output {self.path} exists. Name another, remove it, or go on with the job that "
            "began it: --resume"
        )

    def _commit(self) -> None:
        state: _State = {
            "made_by": self.made_by,
            "lines": self.lines,
            "input_sha256": self._input.hexdigest(),
            "bytes": self._bytes,
            "output_sha256": self._output.hexdigest(),
        }
        write_atomic(self.journal, json.dumps(state, ensure_ascii=False, indent=2) + "\n")

    def _go_on(self) -> None:
        self._is_ours = self.path.exists()
        if not self.journal.exists():
            if self._is_ours and self.path.stat().st_size:
                raise ConfigError(
                    f"There is no {self.journal.name} beside {self.path}, which a job leaves that "
                    "was broken off: this one is done, or jumok predict did not write it. Name "
                    "another output"
                )
            return
        state = self._state()
        for name in self.made_by.keys() | state["made_by"].keys():
            if self.made_by.get(name) != state["made_by"].get(name):
                raise ConfigError(
                    f"{self.path} was begun with another {name}. Go on with the same, or begin a "
                    "new output"
                )
        if state["bytes"]:  # else there may be no file yet
            self._check_output(state)
        self.lines, self._bytes = state["lines"], state["bytes"]
        self._input_before = state["input_sha256"]

    def _check_output(self, state: _State) -> None:
        left = state["bytes"]
        try:
            with self.path.open("rb") as file:
                while left and (part := file.read(min(left, 1 << 20))):
                    self._output.update(part)
                    left -= len(part)
        except FileNotFoundError:
            pass
        if self._output.hexdigest() != state["output_sha256"]:
            raise ConfigError(
                f"{self.path} does not begin with the {state['bytes']:,} bytes that a job wrote "
                f"there: it was changed or removed. Remove {self.journal} and begin again"
            )

    def _state(self) -> _State:
        try:
            state = json.loads(self.journal.read_text(encoding="utf-8"))
            kinds = {"made_by": dict, "lines": int, "input_sha256": str, "bytes": int,
                     "output_sha256": str}  # fmt: skip
            if all(isinstance(state[name], kind) for name, kind in kinds.items()):
                return state
        except (OSError, ValueError, LookupError, TypeError):
            pass
        raise ConfigError(
            f"{self.journal} is no journal of jumok predict. Remove it and begin a new output"
        )


def _add_to(lines: Iterable[str], digest: hashlib._Hash) -> int:
    """Add lines to a digest, and count them."""
    count = 0
    for line in lines:
        digest.update(line.encode() + b"\n")
        count += 1
    return count
