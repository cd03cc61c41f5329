"""An exported search runs in Node.js with only a vocabulary lookup on top (examples/node)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jumok.predictor import load

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "node" / "predict.cjs"
NODE = shutil.which("node")


def has_runtime() -> bool:
    if NODE is None:
        return False
    asked = [NODE, "-e", "require('onnxruntime-node')"]
    return subprocess.run(asked, capture_output=True, cwd=SCRIPT.parent).returncode == 0


@pytest.mark.skipif(not has_runtime(), reason="needs Node.js with the package onnxruntime-node")
@pytest.mark.parametrize("name", ["luong2015", "g2p", "lecture"])
def test_node_gives_the_same(name: str, exported: Callable[[str], Path]) -> None:
    path, sources = exported(name), ["abc", "가각 d", "", "eeee dcba", "a"]
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(SCRIPT), str(path)],
        input="\n".join(sources) + "\n",
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    expected = [prediction.text for prediction in load(path, engine="torch").predict(sources)]
    assert done.stdout.split("\n") == [*expected, ""]
