"""Five million pairs: what they cost in memory, and how soon the second run begins.

Slow: `make test-slow` (some minutes, 2 GB of disk).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from runs import as_options

pytestmark = pytest.mark.slow

PAIRS = int(os.environ.get("JUMOK_LARGE_PAIRS", 5_000_000))
MOST_BYTES = 1_500_000_000
SETTINGS = {
    "text.source.kind": "word",
    "text.target.kind": "word",
    "model.encoder.embedding": 32,
    "model.encoder.hidden": 32,
    "model.decoder.embedding": 32,
    "model.decoder.hidden": 64,
    "train.threads": 1,
    "train.max_steps": 3,
    "train.validate_pairs": 10,
    "evaluation.metric": "perplexity",
}


class Spent(NamedTuple):
    """Wall seconds until the end, and the most bytes that were resident."""

    seconds: float
    bytes: int


def train(folder: Path, name: str) -> Spent:
    settings = as_options({**SETTINGS, "data.cache": folder / "cache"})
    command = [sys.executable, "-m", "jumok", "train", str(folder / "pairs.tsv"), *settings,
               "--dev", str(folder / "dev.tsv"), "--output", str(folder / name)]  # fmt: skip
    began = time.monotonic()
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (folder / f"{name}.log").read_text(encoding="utf-8")
    return Spent(time.monotonic() - began, 1024 * used.ru_maxrss)


def test_five_million_pairs_need_little_memory(tmp_path: Path) -> None:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(20_000)]
    with (tmp_path / "pairs.tsv").open("w", encoding="utf-8") as file:
        for _ in range(PAIRS):
            some = draw.choices(words, k=draw.randint(4, 12))
            file.write(f"{' '.join(some)}\t{' '.join(reversed(some))}\n")
    (tmp_path / "dev.tsv").write_text("a b\tb a\n" * 10, encoding="utf-8")
    first, second = train(tmp_path, "first"), train(tmp_path, "second")
    # an epoch maps all ids, a few updates only some of them
    mapped = sum(p.stat().st_size for p in tmp_path.glob("cache/ids-*/*") if ".text" not in p.name)
    for name, spent in (("first", first), ("second", second)):
        print(f"{name} run of {PAIRS:,} pairs: {spent.seconds:.0f} s, {spent.bytes / 1e6:,.0f} MB")
        assert spent.bytes + mapped < MOST_BYTES
    print(f"ids: {mapped / 1e6:,.0f} MB")
    assert second.seconds < max(30.0, first.seconds / 5)
