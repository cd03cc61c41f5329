"""Training and judging one model through the command line, as a user would, for the record."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from environment import ROOT, environment

from jumok.storage import find_directory

DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results"
RUNS = ROOT / "runs"


def train(
    name: str,
    train_file: str,
    dev_file: str,
    presets: Sequence[str],
    settings: Sequence[str],
    threads: int,
    command: str = "train",
) -> dict[str, Any]:
    """`jumok train` or `train-lm`; returns the command, the seconds and the validation records.

    A finished run of the same command with the same code and presets is not repeated, and one that
    was broken off is gone on with, so a series of hours can be made in parts.
    """
    output = RUNS / name
    arguments = [command, f"{DATA / train_file}", "--dev", f"{DATA / dev_file}"]
    arguments += [a for preset in presets for a in ("--preset", preset)]
    arguments += [a for s in [*settings, f"train.threads={threads}"] for a in ("--set", s)]
    arguments += ["--output", str(output)]
    record = output / "benchmark.json"
    shown = _shown(arguments)
    source = source_hash()
    if record.exists():
        done = json.loads(record.read_text(encoding="utf-8"))
        if (done["command"], done["source"]) == (shown, source):
            return done
    begun = output.with_name(f"{output.name}.begun.json")
    same = {"command": shown, "source": source}
    now = _broken_off(begun, same) if find_directory(output / "last").exists() else None
    if now is None:
        shutil.rmtree(output, ignore_errors=True)
        environs = environment()  # as the run begins: the commit may be another when it ends
        now = {key: environs[key] for key in ("commit", "date")}
        begun.parent.mkdir(parents=True, exist_ok=True)
        begun.write_text(json.dumps({**same, **now}), encoding="utf-8")
        jumok(arguments, threads)
    else:
        jumok(["train", "--resume", str(output)], threads)
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    validations = [json.loads(line) for line in lines]
    done = {**same, **now, "seconds": validations[-1]["seconds"], "validations": validations}
    record.write_text(json.dumps(done, indent=1), encoding="utf-8")
    return done


def _broken_off(begun: Path, same: dict[str, str]) -> dict[str, str] | None:
    """Date and commit of the beginning of a run that is the ``same``, if there is one."""
    if not begun.exists():
        return None
    found = json.loads(begun.read_text(encoding="utf-8"))
    if any(found[key] != value for key, value in same.items()):
        return None
    return {key: found[key] for key in ("commit", "date")}


def evaluate(name: str, test_file: str, threads: int, *options: str) -> dict[str, Any]:
    """`jumok evaluate`: all metrics, and the command."""
    arguments = ["evaluate", str(RUNS / name), f"{DATA / test_file}", "--format", "json", *options]
    return {"command": _shown(arguments), **json.loads(jumok(arguments, threads))}


def align(name: str, pairs: str, threads: int, *options: str) -> list[str]:
    """`jumok align`: the links of each pair."""
    arguments = ["align", str(RUNS / name), f"{DATA / pairs}", *options]
    return jumok(arguments, threads).splitlines()


def origin(done: dict[str, Any]) -> dict[str, Any]:
    """Where the figures of one training are from."""
    return {key: done[key] for key in ("seconds", "command", "commit", "date")}


def store(name: str, rows: Any) -> None:
    """Write ``benchmarks/results/NAME.json`` with the environment."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**environment(), "rows": rows}, ensure_ascii=False, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(f"written: benchmarks/results/{name}.json")


_MACHINE = ("versions", "cpu", "cores")
"""What may be another for the rest of a series that is gone on with."""


def measure_all(
    name: str,
    work: Callable[[Any], dict[str, Any]],
    jobs: Sequence[tuple[Any, ...]],
    keys: Sequence[str],
    at_a_time: int,
) -> None:
    """A row for each job, which are the values of ``keys`` in it.

    What is done is stored after each, so that a broken series can be gone on with elsewhere: what
    is stored is not done again. A job that fails does not keep the others from being stored; its
    error is raised when they are done.
    """
    path = RESULTS / f"{name}.json"
    stored = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = {tuple(row[key] for key in keys): row for row in stored}
    failed: list[BaseException] = []
    with ThreadPoolExecutor(at_a_time) as pool:
        for done in as_completed([pool.submit(work, job) for job in jobs if job not in rows]):
            error = done.exception()
            if error is not None:
                failed.append(error)
                continue
            here = {key: value for key, value in environment().items() if key in _MACHINE}
            row = {**done.result(), "on": here}
            rows[tuple(row[key] for key in keys)] = row
            order = dict.fromkeys([*jobs, *rows])  # what this call does not ask for is kept
            store(name, [rows[job] for job in order if job in rows])
    if failed:
        raise failed[0]


def source_hash() -> str:
    """SHA-256 of all that a training depends on, presets included."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix in (".py", ".yaml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def scripts_hash(*names: str) -> str:
    """SHA-256 of benchmarks that say how something is measured."""
    digest = hashlib.sha256()
    for name in names:
        digest.update((ROOT / "benchmarks" / f"{name}.py").read_bytes())
    return digest.hexdigest()


def jumok(arguments: Sequence[str], threads: int) -> str:
    """A command's standard output."""
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-m", "jumok", *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


def _shown(arguments: Sequence[str]) -> str:
    return " ".join(["jumok", *arguments]).replace(f"{DATA}", "DATA").replace(f"{RUNS}", "runs")
