"""Every line of a source answered in order: to stdout, or to a file that survives a kill."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from jumok import __version__
from jumok.bundle import SHORTLIST, fingerprint
from jumok.bundle.exported import MANIFEST
from jumok.cli.output import render
from jumok.cli.resumable import ResumableOutput
from jumok.cli.streams import Source, answer_window
from jumok.engine import EngineName
from jumok.errors import ConfigError, InputError, Interrupted, JumokError
from jumok.predictor import load
from jumok.progress import Bar

_BATCHES = 16
"""Batches in a window, at least: enough that sorting by length leaves little padding."""


@dataclass(frozen=True)
class Job:
    """What is asked of every line. It is plain data, which other processes can be told."""

    models: Sequence[str]
    language_model: str | None
    device: str
    search: Mapping[str, Any]
    prefix: str | None
    choices: Sequence[str] | None
    dictionary: Mapping[str, str] | None
    format: str
    engine: EngineName = "auto"

    def identity(self) -> dict[str, Any]:
        """All that the answers depend on, models and long lists by their hashes."""
        judge = self.language_model
        listed = self.search.get("shortlist")
        asked = () if self.engine == "torch" else (*self.models, *([judge] if judge else []))
        found = asdict(self) | {
            "version": __version__,
            "models": [fingerprint(model) for model in self.models],
            "language_model": fingerprint(judge) if judge else None,
            "export": [fingerprint(model, f"onnx/{MANIFEST}") for model in asked],
            "shortlist": fingerprint(self.models[0], SHORTLIST) if listed else None,
            "choices": _hash(self.choices),
            "dictionary": _hash(self.dictionary),
        }
        del found["device"]  # it changes the speed
        return found


class Answered(NamedTuple):
    """Lines with their answers as text, and what is wrong with the line after them, if anything."""

    lines: Sequence[str]
    text: str
    error: JumokError | None = None
    share: float | None = None
    """How much of the source has been read."""


class Answerer:
    """Loaded models that do a job. Raises what `load` and `Predictor.predict` do."""

    def __init__(self, job: Job, name: str) -> None:
        self.job, self.name = job, name
        self.predictor = load(list(job.models), job.device, job.language_model, job.engine)
        self._predict([])  # whatever is wrong with the settings is said now

    @property
    def window(self) -> int:
        """Lines to be answered together."""
        batch = int(self.job.search.get("batch_size", self.predictor.config.search.batch_size))
        return max(1024, _BATCHES * batch)

    def __call__(self, before: int, lines: Sequence[str]) -> Answered:
        """Answers to ``lines``, which come after ``before`` others, up to the first bad one."""
        good, text, bad = answer_window(lines, self._predict)
        if bad is not None:
            bad = InputError(f"{self.name}:{before + good + 1}: {bad}")
        return Answered(lines[:good], text, bad)

    def _predict(self, lines: Sequence[str]) -> str:
        job = self.job
        found = self.predictor.predict(
            lines, prefix=job.prefix, choices=job.choices, dictionary=job.dictionary, **job.search
        )
        return "".join(render(prediction, job.format) for prediction in found)


def run(
    job: Job, source: Source, output: Path | None, resume: bool, ray_workers: int | None
) -> None:
    """Answer a source: into ``output``, a new file or with ``resume`` one that was begun, or to
    stdout. With ``ray_workers`` (0: as many as there is room for) Ray's processes do it.

    Raises `InputError` or `DataError` for a line that cannot be used, when those before it are
    answered, and `Interrupted` where a job that can go on is broken off.
    """
    if resume and output is None:
        raise ConfigError("--resume goes on with an output file. Name it: --output FILE --resume")
    if ray_workers is not None and source.file == "-":
        raise ConfigError("--ray reads a file, and stdin is none. Name a file")
    # where Ray's workers answer, this process only finds out whether they can
    answerer = Answerer(job if ray_workers is None else replace(job, device="cpu"), source.name)
    lines = source.lines()
    if output is None:
        stdout = sys.stdout

        def write(lines: Sequence[str], text: str) -> None:
            stdout.write(text)
            stdout.flush()

        with closing(_answers(answerer, job, source, lines, 0, ray_workers)) as answers:
            if not _is_watched(source):
                deque(_written(answers, write), maxlen=0)
                return
            with (progress := _Progress(0, source.share())):
                progress.follow(_written(answers, write))
        return
    with (
        ResumableOutput(output, job.identity() | {"encoding": source.encoding}, resume) as kept,
        closing(_answers(answerer, job, source, lines, kept.lines, ray_workers)) as answers,
    ):
        kept.skip(lines, source.name)
        so_far = "the answers to {:,} lines are in {}. The same command with --resume goes on"
        with (progress := _Progress(kept.lines, source.share())):
            try:
                progress.follow(_written(answers, kept.write))
            except KeyboardInterrupt:
                raise Interrupted(f"Stopped; {so_far.format(kept.lines, output)}") from None
            except JumokError:
                progress.message(so_far.format(kept.lines, output))
                raise
            kept.finish()
            progress.message(f"{kept.lines:,} lines are answered in {output}, {progress.pace()}")


def _answers(
    answerer: Answerer,
    job: Job,
    source: Source,
    lines: Iterator[str],
    before: int,
    ray_workers: int | None,
) -> Generator[Answered, None, None]:
    """Answers to what is left of ``lines``, window by window, by this process or by others."""
    if ray_workers is not None:
        from jumok.cli.ray_data import answers_of_workers

        if next(lines, None) is None:  # and what is wrong with the file is said at once
            return
        yield from answers_of_workers(job, source, before, answerer.window, ray_workers)
        return
    for window in source.windows(lines, answerer.window):
        yield answerer(before, window)._replace(share=source.share())
        before += len(window)


def _written(
    answers: Iterable[Answered], write: Callable[[Sequence[str], str], None]
) -> Iterator[Answered]:
    """Answers when they are written; raises the error in them."""
    for answered in answers:
        write(answered.lines, answered.text)
        yield answered
        if answered.error is not None:
            raise answered.error


def _is_watched(source: Source) -> bool:
    """Whether a person waits at a terminal on which nothing else is written or typed."""
    typing = source.file == "-" and sys.stdin.isatty()
    return sys.stderr.isatty() and not sys.stdout.isatty() and not typing


class _Progress(Bar):
    """How many lines are answered, and how fast."""

    def __init__(self, before: int, share: float | None) -> None:
        super().__init__()
        self.before = self.lines = before
        self._tell(share)

    def follow(self, written: Iterable[Answered]) -> None:
        """Tell of answers as they are written."""
        for answered in written:
            self.lines += len(answered.lines)
            self._tell(answered.share)

    def pace(self) -> str:
        """Since the beginning."""
        return f"{self.rate(self.lines - self.before)} lines/s"

    def _tell(self, share: float | None) -> None:
        self.show(share, f"{self.lines:,} lines", self.pace())


def _hash(plain: Sequence[str] | Mapping[str, str] | None) -> str | None:
    if plain is None:
        return None
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
