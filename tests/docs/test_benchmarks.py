"""The benchmarks still run, and the page of results is the one that the stored figures give."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def beside_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts import each other by name, as when one of them is run."""
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.mark.usefixtures("beside_benchmarks")
@pytest.mark.parametrize("script", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_script_can_be_loaded(script: str) -> None:
    importlib.import_module(script)


@pytest.mark.usefixtures("beside_benchmarks")
def test_page_of_results_is_up_to_date() -> None:
    page = importlib.import_module("report").page()
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == page


def test_training_speed(tmp_path: Path) -> None:
    output = tmp_path / "speed.json"
    subprocess.run(
        [
            sys.executable,
            str(BENCHMARKS / "train_speed.py"),
            *("--repeats", "1", "--updates", "1", "--output", str(output)),
        ],
        check=True,
        capture_output=True,
    )
    report = json.loads(output.read_text(encoding="utf-8"))
    assert all(row["lowest"] > 0 for row in report["results"])
    assert report["results"][0]["ratio"] == 1.0
    assert report["environment"]["versions"]["torch"]


def test_additive_score(tmp_path: Path) -> None:
    output = tmp_path / "additive.json"
    sizes = ("--lengths", "50", "--batch", "2", "--size", "16")
    subprocess.run(
        [
            sys.executable,
            str(BENCHMARKS / "additive.py"),
            *(*sizes, "--repeats", "1", "--output", str(output)),
        ],
        check=True,
        capture_output=True,
    )
    report = json.loads(output.read_text(encoding="utf-8"))
    [row] = report["rows"]
    assert row["times_faster"] > 0
    assert set(row["seconds"]) == set(row["extra_mib"]) == {"naive", "jumok"}
    assert report["versions"]["torch"]


def test_the_demo_overwrites_only_a_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    demo = importlib.import_module("demo")
    demo.clear(tmp_path / "new")
    for folder in (tmp_path / "new", tmp_path / "mine"):
        (folder / "model").mkdir(parents=True)
        (folder / "train.tsv").touch()
    demo.clear(tmp_path / "new")
    assert not (tmp_path / "new" / "model").exists()
    with pytest.raises(demo.DemoError, match="holds other files"):
        demo.clear(tmp_path / "mine")
    assert (tmp_path / "mine" / "model").exists()
