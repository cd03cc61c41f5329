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


def test_a_plain_loop_trains(tmp_path: Path) -> None:
    """The yardstick beside which jumok is measured is a real model: its loss falls."""
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("a b\tb a\nb b a\ta b b\n" * 40, encoding="utf-8")
    sizes = ("--embedding", "8", "--hidden", "16", "--updates", "60", "--report", "30")
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "plain_loop.py"), str(pairs), *sizes],
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    [first, last] = [line.split() for line in done.stdout.splitlines()]
    assert (first[1], last[1]) == ("30", "60")
    assert int(last[3]) == 2 * int(first[3])
    assert float(last[5]) < float(first[5]) < 2


@pytest.mark.usefixtures("beside_benchmarks")
def test_speeds_are_compared_within_a_turn() -> None:
    rivals = importlib.import_module("rivals")
    ours = rivals.Entry("ours", "jumok", "kor", 256)
    theirs = rivals.Entry("theirs", "opennmt", "kor", 256)
    others = [
        rivals.Entry("other data", "opennmt", "multi30k", 256),
        rivals.Entry("other size", "opennmt", "kor", 512),
        rivals.Entry("not fed", "opennmt", "kor", 256, feeds=False),
        rivals.Entry("other score", "opennmt", "kor", 256, attention="bahdanau"),
    ]
    speeds = {other.name: [1.0, 1.0, 1.0] for other in others}
    speeds |= {"ours": [30.0, 10.0, 16.0], "theirs": [10.0, 10.0, 4.0]}
    limits = {name: [40.0, 40.0, 40.0] for name in speeds}
    first, second, *_ = rivals.summary([ours, theirs, *others], speeds, limits)
    assert first["times"] == {"theirs": 3.0}  # of 3, 1 and 4
    assert first["tokens_per_second"] == 16.0
    assert first["of_limit"] == 0.4
    assert second["times"] == {}


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


@pytest.mark.usefixtures("beside_benchmarks")
def test_alignments_are_compared_with_the_diagonal() -> None:
    alignment = importlib.import_module("alignment")
    assert alignment._diagonal(3, 3) == {(0, 0), (1, 1), (2, 2)}
    assert alignment._diagonal(4, 2) == {(1, 0), (3, 1)}
    assert alignment._diagonal(1, 3) == {(0, 0), (0, 1), (0, 2)}
    elided = alignment.re.sub(alignment._ELISION, r"\1e ", "L'homme, qu'il y a d'ici.")
    assert alignment._words(elided) == "Le homme , que il y a de ici ."
    assert alignment._words("The woman's well-known dog.") == "The woman 's well-known dog ."


@pytest.mark.usefixtures("beside_benchmarks")
def test_alignment_errors_stand_side_by_side() -> None:
    report = importlib.import_module("report")
    rows = [
        {"set": s, "attention": a, "links": "forward", "aer": n, "precision": 1.0, "recall": 2.0}
        for n, (s, a) in enumerate([("x", "dot"), ("x", "general"), ("y", "dot"), ("y", "general")])
    ]
    table = report.alignment({"rows": rows}).split("\n\n")[1].splitlines()
    assert table[0].count("AER") == 2
    assert table[2:] == [
        "| dot | forward | 0.0 | 1.0 | 2.0 | 2.0 | 1.0 | 2.0 |",
        "| general | forward | 1.0 | 1.0 | 2.0 | 3.0 | 1.0 | 2.0 |",
    ]
