"""Quality after the same number of updates: jumok and OpenNMT-py on Multi30k, one core each.

    python benchmarks/equal_updates.py           an hour

The models, vocabularies and settings are those of `rivals.py`; the speeds are there. A run is
translated as it is after its last update, without any choice among checkpoints, and judged on
test_2016_flickr by sacrebleu, tokens as they are. What the same code has trained for this before is
not trained again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import sacrebleu
from cli_runs import store
from rivals import BATCH, ENTRIES, FILES, WORK, Entry, command, complete, set_up, write_data
from trained import EPOCH, trained

UPDATES = 4 * EPOCH["multi30k"]
NAMES = ("opennmt-256", "jumok-256", "jumok-256-bf16")
SEEDS = (1, 2, 3)
BEAMS = ("1", "5")
LONGEST = 60
"""Tokens of an output, whoever writes it. Nobody may write an unknown word."""


def main() -> None:
    """Train each with each seed, judge, store."""
    write_data("multi30k")
    set_up("opennmt")
    entries = [entry for entry in ENTRIES if entry.name in NAMES]
    rows = []
    for seed in SEEDS:
        rows += [one(replace(entry, seed=seed)) for entry in entries]
        store("equal-updates", rows)


def one(entry: Entry) -> dict[str, Any]:
    """BLEU of one model with each beam."""
    source, target = (WORK / entry.data / f"test.{side}" for side in FILES)
    references = target.read_text(encoding="utf-8").splitlines()
    folder = trained(entry, UPDATES)
    translate = {"opennmt": _opennmt, "jumok": _jumok}[entry.toolkit](folder)
    bleu = {}
    for beam in BEAMS:
        output = folder / f"beam{beam}"
        translate(beam, str(source), str(output))
        lines = output.read_text(encoding="utf-8").splitlines()
        bleu[beam] = sacrebleu.corpus_bleu(lines, [references], tokenize="none", force=True).score
    rounded = {beam: round(score, 2) for beam, score in bleu.items()}
    print(entry.name, entry.seed, rounded, flush=True)
    made = {"name": entry.name, "seed": entry.seed, "updates": UPDATES, "batch": BATCH}
    return {**made, "bleu": bleu}


def _opennmt(folder: Path) -> Callable[[str, str, str], None]:
    def translate(beam: str, source: str, output: str) -> None:
        options = ["-model", f"model_step_{UPDATES}.pt", "-src", source, "-output", output]
        search = ["-beam_size", beam, "-length_penalty", "avg", "-ban_unk_token"]
        limit = ["-max_length", str(LONGEST), "-max_length_ratio", "0"]
        complete(command("opennmt", "onmt_translate", *options, *search, *limit), folder)

    return translate


def _jumok(folder: Path) -> Callable[[str, str, str], None]:
    def translate(beam: str, source: str, output: str) -> None:
        search = ["length_penalty=average", "max_length_ratio=0", f"max_length_offset={LONGEST}"]
        options = [option for one in search for option in ("--set", f"search.{one}")]
        predict = [sys.executable, "-m", "jumok", "predict", "run/last", source, *options]
        predict += ["--beam", beam, "--engine", "torch"]
        complete(predict, folder, writes=Path(output))

    return translate


if __name__ == "__main__":
    main()
