"""Models of every toolkit after so many updates, kept for the benchmarks that judge them.

The settings are those of `rivals.py`. A model is the one after its last update, without any choice
among checkpoints.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from cli_runs import scripts_hash, source_hash
from rivals import (
    REQUIREMENTS,
    WORK,
    Entry,
    command,
    complete,
    prepare_joeynmt,
    prepare_opennmt,
    train_jumok,
    train_plain,
    yoyodyne_config,
)

EPOCH = {"multi30k": 453, "kor": 57}
"""Updates: 29,000 pairs of sentences, and 3,600 words."""
LISTED = ("multi30k",)
"""With thousands of target words: jumok's models get a shortlist."""


def trained(entry: Entry, updates: int) -> Path:
    """The model's folder. What the same version of the toolkit left there, with the same
    code here, is not trained again."""
    folder = WORK / f"{entry.name}-seed-{entry.seed}-updates-{updates}"
    by = REQUIREMENTS[entry.toolkit][0] if entry.toolkit in REQUIREMENTS else entry.toolkit
    how = scripts_hash("rivals", "trained", "plain_loop")
    made = {**asdict(entry), "updates": updates, "by": by, "how": how}
    if entry.toolkit == "jumok":
        made["source"] = source_hash()
    record = folder / "trained.json"
    if record.exists() and json.loads(record.read_text(encoding="utf-8")) == made:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"{entry.name}, seed {entry.seed}: {updates} updates", flush=True)
    TRAIN[entry.toolkit](entry, folder, updates)
    record.write_text(json.dumps(made), encoding="utf-8")
    return folder


def _opennmt(entry: Entry, folder: Path, updates: int) -> None:
    prepare_opennmt(entry, folder, updates)
    complete(command("opennmt", "onmt_train", "-config", "config.yaml"), folder)


def _joeynmt(entry: Entry, folder: Path, updates: int) -> None:
    """Its one validation is after the last update, so that its best checkpoint is its last."""
    prepare_joeynmt(entry, folder, updates, validate_every=updates)
    train = ("-m", "joeynmt", "train", "config.yaml", "--skip-test")
    complete(command("joeynmt", "python", *train), folder)


def _yoyodyne(entry: Entry, folder: Path, updates: int) -> None:
    config = yoyodyne_config(entry, folder, updates)
    config["checkpoint"] = {
        "dirpath": str(folder),
        "filename": "model",
        "monitor": None,
        "every_n_train_steps": updates,
        "enable_version_counter": False,
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    complete(command("yoyodyne", "yoyodyne", "fit", "--config", "config.yaml"), folder)


def _plain(entry: Entry, folder: Path, updates: int) -> None:
    complete([*train_plain(entry, updates), "--save", "model.safetensors"], folder)


def _jumok(entry: Entry, folder: Path, updates: int) -> None:
    complete(train_jumok(entry, updates), folder)
    jumok = [sys.executable, "-m", "jumok"]
    complete([*jumok, "export", "run/last"], folder)
    if entry.data in LISTED:
        pairs = WORK / entry.data / "train.tsv"
        complete([*jumok, "shortlist", "run/last", str(pairs)], folder)


TRAIN: dict[str, Callable[[Entry, Path, int], None]] = {
    "opennmt": _opennmt,
    "joeynmt": _joeynmt,
    "yoyodyne": _yoyodyne,
    "plain": _plain,
    "jumok": _jumok,
}
