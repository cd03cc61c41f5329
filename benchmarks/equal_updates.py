"""Quality after the same number of updates: jumok and OpenNMT-py on Multi30k, one core each.

    python benchmarks/equal_updates.py

The models, vocabularies and settings are those of `rivals.py`; the speeds are there. A run is
translated as it is after its last update, without any choice among checkpoints, and judged on
test_2016_flickr by sacrebleu, tokens as they are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import sacrebleu
from cli_runs import store
from rivals import (
    BATCH,
    ENTRIES,
    FILES,
    ONE_CORE,
    WORK,
    Entry,
    command,
    fresh,
    prepare_opennmt,
    set_up,
    train_jumok,
    write_data,
)

UPDATES = 453 * 4
"""Four epochs of 29,000 pairs."""
NAMES = ("opennmt-256", "jumok-256", "jumok-256-bf16")
BEAMS = ("1", "5")


def main() -> None:
    """Train each, judge each, store."""
    write_data("multi30k")
    set_up("opennmt")
    entries = [entry for entry in ENTRIES if entry.name in NAMES]
    store("equal-updates", [one(entry) for entry in entries])


def one(entry: Entry) -> dict[str, Any]:
    """BLEU of one model with each beam."""
    source, target = (WORK / entry.data / f"test.{side}" for side in FILES)
    references = target.read_text(encoding="utf-8").splitlines()
    folder = fresh(replace(entry, name=f"{entry.name}-updates"))
    translate = {"opennmt": _opennmt, "jumok": _jumok}[entry.toolkit](entry, folder)
    bleu = {}
    for beam in BEAMS:
        output = folder / f"beam{beam}"
        translate(beam, str(source), str(output))
        lines = output.read_text(encoding="utf-8").splitlines()
        bleu[beam] = sacrebleu.corpus_bleu(lines, [references], tokenize="none", force=True).score
    print(entry.name, {beam: round(score, 2) for beam, score in bleu.items()}, flush=True)
    return {"name": entry.name, "updates": UPDATES, "batch": BATCH, "bleu": bleu}


def _opennmt(entry: Entry, folder: Path) -> Callable[[str, str, str], None]:
    prepare_opennmt(entry, folder, UPDATES)
    _run(folder, command("opennmt", "onmt_train", "-config", "config.yaml"))

    def translate(beam: str, source: str, output: str) -> None:
        options = ["-model", f"model_step_{UPDATES}.pt", "-src", source, "-output", output]
        search = ["-beam_size", beam, "-length_penalty", "avg", "-max_length", "60"]
        _run(folder, command("opennmt", "onmt_translate", *options, *search))

    return translate


def _jumok(entry: Entry, folder: Path) -> Callable[[str, str, str], None]:
    train = train_jumok(entry, validate_every=UPDATES)
    _run(folder, [*train, "--set", f"train.max_steps={UPDATES}"])

    def translate(beam: str, source: str, output: str) -> None:
        search = ["--beam", beam, "--set", "search.length_penalty=average"]
        predict = [sys.executable, "-m", "jumok", "predict", "run/last", source, *search]
        Path(output).write_text(_run(folder, predict), encoding="utf-8")

    return translate


def _run(folder: Path, arguments: Sequence[str]) -> str:
    """The program's output; on one core, as in `rivals.py`."""
    done = subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, **ONE_CORE},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    main()
