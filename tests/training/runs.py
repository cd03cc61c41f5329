"""Small runs for tests: pairs made here, models of a few thousand weights, the CLI in-process."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jumok
from jumok.cli import main
from jumok.config import DataConfig
from jumok.data import Pair, read_parts, split_parts

HANGUL = dict(zip("abcde", "가나다라마", strict=True))
SIZES = {
    "text.source.kind": "char",
    "text.target.kind": "char",
    "model.encoder.embedding": 16,
    "model.encoder.hidden": 16,
    "model.decoder.embedding": 16,
    "model.decoder.hidden": 32,
    "train.threads": 1,
    "train.batch_size": 16,
    "train.learning_rate": 0.01,
    "train.max_epochs": 2,
}


def letters(count: int, low: int, high: int, seed: int = 0, alphabet: str = "abcde") -> list[str]:
    """Different random strings of ``low`` to ``high`` letters."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(draw.choices(alphabet, k=draw.randint(low, high)))] = None
    return list(found)


def backwards(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Each text with itself read backwards in Hangul: abc -> 다나가."""
    return [(text, "".join(HANGUL[c] for c in reversed(text))) for text in texts]


def write_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> Path:
    """The pairs as TSV."""
    path.write_text("".join(f"{s}\t{t}\n" for s, t in pairs), encoding="utf-8")
    return path


def train_small(folder: Path, settings: dict[str, Any] | None = None, count: int = 160) -> Path:
    """A run on reversed strings (in ``folder/run``); its pairs lie beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = write_pairs(folder / "pairs.tsv", backwards(letters(count, 2, 5)))
    jumok.train(pairs, output=folder / "run", settings={**SIZES, **(settings or {})})
    return folder / "run"


def divided(path: Path) -> list[list[Pair]]:
    """Training and validation pairs of a file, as a run without a dev file has them."""
    sides = split_parts(read_parts([str(path)], DataConfig()).parts, 0.1, 1)
    return [[pair for part in side for pair in part.pairs] for side in sides]


def as_options(settings: dict[str, Any]) -> list[str]:
    """Settings as the command line has them."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def records(run: Path) -> list[dict[str, Any]]:
    """The validations of a run."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


class Result(NamedTuple):
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


class Bytes(io.BytesIO):
    """Bytes with the name that a process's standard input has."""

    name = "<stdin>"


class Stream(io.TextIOWrapper):
    """A standard stream in memory, which stays readable when the command has closed it."""

    def __init__(self, content: bytes = b"") -> None:
        self.bytes = Bytes(content)
        super().__init__(self.bytes, encoding="utf-8", newline="\n")

    def text(self) -> str:
        """Everything written."""
        self.flush()
        return self.bytes.getvalue().decode("utf-8")


def run_cli(*args: object, stdin: bytes = b"") -> Result:
    """`jumok ARGS` in this process: the real entry point with its error handling."""
    out, err = Stream(), Stream()
    with (
        mock.patch.object(sys, "argv", ["jumok", *map(str, args)]),
        mock.patch.object(sys, "stdin", Stream(stdin)),
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", err),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return Result(code, out.text(), err.text())
