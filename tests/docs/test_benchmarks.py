"""The benchmarks still run, and the page of results is the one that the stored figures give."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    printed = _run("plain_loop.py", str(pairs), *sizes)
    [first, last] = [line.split() for line in printed.splitlines()]
    assert (first[1], last[1]) == ("30", "60")
    assert int(last[3]) == 2 * int(first[3])
    assert float(last[5]) < float(first[5]) < 2


def test_a_plain_loop_decodes_what_it_has_learned(tmp_path: Path) -> None:
    """In the order of the lines, which is not that of their lengths, whatever the batch."""
    pairs, model = tmp_path / "pairs.tsv", tmp_path / "model.safetensors"
    taught = {"a b": "b a", "b b a": "a b b", "a": "a"}
    pairs.write_text("".join(f"{s}\t{t}\n" for s, t in taught.items()) * 40, encoding="utf-8")
    sizes = ("--embedding", "8", "--hidden", "32", "--updates", "500", "--report", "500")
    _run("plain_loop.py", str(pairs), *sizes, "--save", str(model))
    sources = tmp_path / "sources"
    sources.write_text("b b a\na\na b\na\n", encoding="utf-8")
    for size in ("1", "3"):
        outputs = _run("plain_greedy.py", str(model), str(sources), "--batch-size", size)
        assert outputs.splitlines() == ["a b b", "a", "b a", "a"]


def _run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    return done.stdout


@pytest.mark.usefixtures("beside_benchmarks")
def test_rows_that_a_call_does_not_ask_for_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli_runs = importlib.import_module("cli_runs")
    monkeypatch.setattr(cli_runs, "RESULTS", tmp_path)
    for cores, asked in enumerate((["g2p", "chat"], ["date"], ["chat", "date"])):
        here = {"cpu": "a", "cores": cores, "date": "today"}
        monkeypatch.setattr(cli_runs, "environment", lambda here=here: here)
        jobs = [(data,) for data in asked]
        cli_runs.measure_all("series", lambda job: {"data": job[0]}, jobs, ("data",), 1)
    rows = json.loads((tmp_path / "series.json").read_text(encoding="utf-8"))["rows"]
    on = {row["data"]: row["on"]["cores"] for row in rows}  # the machine that it was measured on
    assert on == {"g2p": 0, "chat": 0, "date": 1}

    def fails_at_first(job: tuple[str]) -> dict[str, str]:
        if job[0] == "korean":
            raise RuntimeError("no korean")
        return {"data": job[0]}

    jobs = [("korean",), ("cmudict",)]
    with pytest.raises(RuntimeError, match="no korean"):
        cli_runs.measure_all("series", fails_at_first, jobs, ("data",), 1)
    rows = json.loads((tmp_path / "series.json").read_text(encoding="utf-8"))["rows"]
    assert {row["data"] for row in rows} == {"g2p", "chat", "date", "cmudict"}


@pytest.mark.usefixtures("beside_benchmarks")
def test_a_training_that_was_broken_off_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli_runs = importlib.import_module("cli_runs")
    run = tmp_path / "words"
    commands: list[list[str]] = []

    def is_killed(arguments: list[str], threads: int) -> None:
        (run / "last").mkdir(parents=True)
        raise KeyboardInterrupt

    def ends(arguments: list[str], threads: int) -> None:
        commands.append(arguments)
        run.mkdir(exist_ok=True)
        (run / "metrics.jsonl").write_text('{"seconds": 9.5}\n', encoding="utf-8")

    monkeypatch.setattr(cli_runs, "RUNS", tmp_path)
    monkeypatch.setattr(cli_runs, "jumok", is_killed)
    files = ("words", "train.tsv", "dev.tsv", ["g2p"])
    with pytest.raises(KeyboardInterrupt):
        cli_runs.train(*files, ["train.seed=1"], threads=1)
    monkeypatch.setattr(cli_runs, "jumok", ends)
    done = cli_runs.train(*files, ["train.seed=1"], threads=1)
    assert done["seconds"] == 9.5
    assert "--preset g2p" in done["command"]
    assert cli_runs.train(*files, ["train.seed=1"], threads=1) == done
    assert commands == [["train", "--resume", str(run)]]
    cli_runs.train(*files, ["train.seed=2"], threads=1)  # another run is begun anew
    assert commands[1][:2] == ["train", f"{cli_runs.DATA / 'train.tsv'}"]
    assert not (run / "last").exists()


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


@pytest.mark.usefixtures("beside_benchmarks")
def test_decoders_are_compared_at_the_same_task_within_a_turn() -> None:
    decoding, rivals = (importlib.import_module(name) for name in ("decoding", "rivals"))

    def row(toolkit: str, engine: str = "", beam: int = 5, batch: int = 64, **other: object) -> Any:
        entry = rivals.Entry(f"{toolkit}{other}", toolkit, "kor", 256, **other)
        return decoding.Row(entry, engine, beam, batch)

    ours, theirs = row("jumok", "onnx"), row("opennmt")
    others = [
        row("opennmt", batch=1),
        row("opennmt", beam=1),
        row("yoyodyne", feeds=False, attention="bahdanau"),
        row("jumok", "torch"),
    ]
    rows = [ours, theirs, *others]
    assert len({one.name for one in rows}) == len(rows)
    speeds = {other.name: [1.0, 1.0, 1.0] for other in others}
    speeds |= {ours.name: [30.0, 10.0, 16.0], theirs.name: [10.0, 10.0, 4.0]}
    judged = {"wer": 12.345, "judged": 450}
    turns = [{name: (found[n], judged) for name, found in speeds.items()} for n in range(3)]
    first, second, *_ = decoding.summary(rows, turns)
    assert first["times"] == {theirs.entry.name: 3.0}  # of 3, 1 and 4
    assert first["sentences_per_second"] == 16.0
    assert (first["wer"], first["judged"]) == (12.35, 450)
    assert second["times"] == {}


@pytest.mark.usefixtures("beside_benchmarks")
def test_turns_of_decoders_that_were_measured_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = importlib.import_module("decoding")
    rows = decoding.all_rows(["plain-kor", "jumok-kor"])
    measurements, killed_after = 0, 2 * len(rows) + 1

    def measured(row: Any, folder: Path, count: int) -> tuple[float, list[str]]:
        nonlocal measurements
        if measurements == killed_after:
            raise KeyboardInterrupt
        measurements += 1
        return 2.0, ["x"]

    def run(argv: list[str]) -> None:
        monkeypatch.setattr(sys, "argv", ["decoding.py", *argv])
        decoding.main()

    for name, fake in {
        "_TURNS": tmp_path / "turns.json",
        "all_rows": lambda names: rows,
        "write_data": lambda name: None,
        "set_up": lambda toolkit: None,
        "trained": lambda entry, updates: tmp_path,
        "measure": measured,
        "quality": lambda data, outputs: {"wer": 1.0, "judged": 1},
        "store": lambda name, found: stored.append(found),
    }.items():
        monkeypatch.setattr(decoding, name, fake)
    monkeypatch.setattr("turns.source_hash", lambda: source)
    monkeypatch.setattr("turns.scripts_hash", lambda *names: scripts)
    stored: list[Any] = []
    source = scripts = "one"
    with pytest.raises(KeyboardInterrupt):
        run([])
    assert [len(found[0]["turns"]) for found in stored] == [1, 2]
    killed_after = -1
    run([])  # the third turn alone
    assert [len(found[0]["turns"]) for found in stored] == [1, 2, 3]
    assert measurements == 3 * len(rows) + 1  # one was in the turn that was broken off
    source = "another"
    run([])
    assert measurements == 6 * len(rows) + 1
    scripts = "others"  # a rival's setting, or the plain loop itself
    run([])
    assert measurements == 9 * len(rows) + 1


@pytest.mark.usefixtures("beside_benchmarks")
def test_a_model_is_trained_again_where_it_would_be_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("trained")
    made: list[str] = []
    source = scripts = "one"

    def train(entry: Any, folder: Path, updates: int) -> None:
        made.append(entry.name)

    monkeypatch.setattr(module, "WORK", tmp_path)
    monkeypatch.setattr(module, "TRAIN", dict.fromkeys(module.TRAIN, train))
    monkeypatch.setattr(module, "source_hash", lambda: source)
    monkeypatch.setattr(module, "scripts_hash", lambda *names: scripts)
    plain, ours = (
        next(e for e in importlib.import_module("rivals").ENTRIES if e.name == name)
        for name in ("plain-kor", "jumok-kor")
    )
    for _ in range(2):
        module.trained(plain, 4)
        module.trained(ours, 4)
    assert made == ["plain-kor", "jumok-kor"]
    source = "another"
    module.trained(plain, 4)  # knows nothing of jumok
    module.trained(ours, 4)
    assert made[2:] == ["jumok-kor"]
    scripts = "others"
    module.trained(plain, 4)
    module.trained(ours, 4)
    assert made[3:] == ["plain-kor", "jumok-kor"]


@pytest.mark.usefixtures("beside_benchmarks")
def test_both_write_as_much_and_no_unknown_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compared after the same updates is searched for in the same way."""
    module, asked = importlib.import_module("equal_updates"), []
    monkeypatch.setattr(module, "complete", lambda arguments, *_, **__: asked.append(arguments))
    for translate in (module._opennmt, module._jumok):
        translate(tmp_path)("5", "source", str(tmp_path / "output"))
    theirs, ours = (" ".join(map(str, one)) for one in asked)
    assert "-beam_size 5" in theirs and "--beam 5" in ours
    assert "-ban_unk_token" in theirs and "replace_unknown" not in ours
    assert "-max_length 60 -max_length_ratio 0" in theirs
    assert "search.max_length_ratio=0" in ours and "search.max_length_offset=60" in ours
    assert "-length_penalty avg" in theirs and "search.length_penalty=average" in ours


@pytest.mark.usefixtures("beside_benchmarks")
def test_ratios_are_told_with_what_they_were_in_each_turn() -> None:
    report, base = importlib.import_module("report"), {"attention": "general", "feeds": True}
    ours = {"name": "ours", "turns": [98.0, 118.0], "times": {"theirs": 1.08}}
    rows = [
        {**base, **row, "tokens_per_second": 1.0, "of_limit": 0.5}
        for row in (ours, {"name": "theirs", "turns": [100.0, 100.0], "times": {}})
    ]
    page = report.rivals({"rows": rows, "batch": 64, "repeats": 2, "rivals": {"a": "A==1"}})
    assert "1.08 × theirs (0.98–1.18)" in page


@pytest.mark.usefixtures("beside_benchmarks")
def test_only_updates_count_for_jumoks_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what begins and ends a run: five seconds, beside an eighth of one for an update."""
    rivals = importlib.import_module("rivals")

    def train(arguments: list[str], folder: Path) -> Any:
        [updates] = [int(a.partition("=")[2]) for a in arguments if "train.max_steps=" in a]
        (folder / "run").mkdir()
        record = json.dumps({"step": updates, "target_tokens": 10 * updates})
        (folder / "run" / "metrics.jsonl").write_text(f"{record}\n", encoding="utf-8")
        return rivals.Spent(5 + updates / 8, 99.0)

    monkeypatch.setattr(rivals, "WORK", tmp_path)
    monkeypatch.setattr(rivals, "complete", train)
    for entry in rivals.ENTRIES:
        if entry.toolkit == "jumok":
            assert rivals.jumok(entry) == 80.0


@pytest.mark.usefixtures("beside_benchmarks")
def test_turns_of_trainings_that_were_measured_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = importlib.import_module("rivals")
    entries = [entry for entry in rivals.ENTRIES if entry.name in ("opennmt-kor", "jumok-kor")]
    speeds = iter([1.0, 2.0, 3.0])

    def measured(entry: Any) -> float:
        try:
            return next(speeds)
        except StopIteration:
            raise KeyboardInterrupt from None

    for name, fake in {
        "_TURNS": tmp_path / "turns.json",
        "ENTRIES": entries,
        "RESULTS": tmp_path,
        "MEASURE": {entry.toolkit: measured for entry in entries},
        "limit": lambda entry: 4.0,
        "write_data": lambda name: None,
        "set_up": lambda toolkit: None,
    }.items():
        monkeypatch.setattr(rivals, name, fake)
    monkeypatch.setattr(sys, "argv", ["rivals.py", "--repeats", "2"])

    def stored() -> list[list[float]]:
        report = json.loads((tmp_path / "rivals.json").read_text(encoding="utf-8"))
        return [row["turns"] for row in report["rows"]]

    with pytest.raises(KeyboardInterrupt):
        rivals.main()
    assert stored() == [[1.0], [2.0]]  # the turn that was broken off is not in it
    speeds = iter([5.0, 6.0])
    rivals.main()
    assert stored() == [[1.0, 6.0], [2.0, 5.0]]  # the second begins with another


@pytest.mark.usefixtures("beside_benchmarks")
def test_every_decoder_is_timed_on_as_much_as_it_is_judged_on() -> None:
    """All of the test set, but for one that needs a second for a sentence."""
    decoding = importlib.import_module("decoding")
    names = [name for timed in decoding.TIMED.values() for name in timed]
    rows = decoding.all_rows(names)
    # three toolkits, three engines, two of them with a shortlist, the loop
    assert len(rows) == 4 * (3 + 3 + 3 + 2 * 3 + 2) + 2 * 2
    whole = {"multi30k": 1000, "kor": 450}
    short = [row for row in rows if row.sentences < whole[row.entry.data]]
    assert {(row.entry.name, row.beam) for row in short} == {("yoyodyne-256", 5)}


@pytest.mark.usefixtures("beside_benchmarks")
def test_start_up_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, rivals = (importlib.import_module(name) for name in ("decoding", "rivals"))
    row = decoding.all_rows(["plain-kor"])[0]
    monkeypatch.setattr(
        decoding,
        "decode",
        lambda row, folder, count: (rivals.Spent(3 + count / 8, 99.0), ["x"] * count),
    )
    assert decoding.measure(row, tmp_path, 450) == (8.0, ["x"] * 450)


@pytest.fixture
def few_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two test pairs, one to develop on and one to train on, where the benchmarks keep theirs."""
    decoding = importlib.import_module("decoding")
    monkeypatch.setattr(decoding, "WORK", tmp_path)
    for data in ("kor", "multi30k"):
        (tmp_path / data).mkdir()
        (tmp_path / data / "test.target").write_text("a b c d e\nf g\n", encoding="utf-8")
        for part, text in (("test", "p q\ta b c d e\nr\tf g\n"), ("dev", "s\tt\n")):
            (tmp_path / data / f"{part}.tsv").write_text(text, encoding="utf-8")
        (tmp_path / data / "train.tsv").write_text("u v\tw\n", encoding="utf-8")


@pytest.mark.usefixtures("beside_benchmarks", "few_data")
def test_the_test_set_comes_first_and_is_judged() -> None:
    decoding = importlib.import_module("decoding")
    lines = decoding.write_sources("kor", 6, unknown=False).read_text(encoding="utf-8")
    assert lines == "p q\nr\ns\nu v\np q\nr\n"
    outputs = ["a b c d e", "f", "of a text that is not in the test set"]
    assert decoding.quality("kor", outputs) == {"wer": 50.0, "judged": 2}
    assert decoding.quality("kor", outputs[:1]) == {"wer": 0.0, "judged": 1}
    found = decoding.quality("multi30k", ["a b c d e", "f g", "x"])
    assert found == {"bleu": pytest.approx(100), "judged": 2}


@pytest.mark.usefixtures("beside_benchmarks")
def test_programs_are_pinned_timed_and_must_succeed(tmp_path: Path) -> None:
    rivals = importlib.import_module("rivals")
    reads, writes = tmp_path / "in", tmp_path / "out"
    reads.write_text("주목", encoding="utf-8")
    program = (
        "import os, sys, time\n"
        "while time.process_time() < 0.3: pass\n"
        "time.sleep(0.3)\n"
        "print(sys.stdin.buffer.read().decode(), os.environ['WORD'])\n"
        "print('said', file=sys.stderr)\n"
    )
    run = [sys.executable, "-c", program]
    environ = {"WORD": "x", "PYTHONIOENCODING": "utf-8"}
    spent = rivals.complete(run, tmp_path, reads, writes, environ)
    assert 0.3 <= spent.processor <= spent.wall - 0.3 + 0.1
    assert writes.read_text(encoding="utf-8") == "주목 x\n"
    assert (tmp_path / "log").read_text(encoding="utf-8") == "said\n"
    with pytest.raises(RuntimeError, match="failed; see"):
        rivals.complete([sys.executable, "-c", "raise SystemExit(1)"], tmp_path)


@pytest.mark.usefixtures("beside_benchmarks")
def test_import_times_are_added_up_by_package() -> None:
    cold_start = importlib.import_module("cold_start")
    lines = [
        "import time: self [us] | cumulative | imported package",
        "import time:       250 |        250 |   numpy._core",
        "import time:      1000 |       1250 | numpy",
        "import time:       500 |        500 |     os",
        "something else that the program says",
        "import time:       300 |        300 | encodings.utf_8",
    ]
    assert cold_start.import_times(lines) == {"numpy": 1.2, "Python": 0.8}


@pytest.mark.usefixtures("beside_benchmarks")
def test_size_is_without_what_installs(tmp_path: Path) -> None:
    cold_start = importlib.import_module("cold_start")
    tools = ("pip/a.py", "pip-23.2.dist-info/METADATA", "setuptools/b.py", "pkg_resources/c.py")
    for name in (*tools, "numpy/core.so", "pipes/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(1500))
    assert cold_start.size(tmp_path) == 0.003


@pytest.mark.usefixtures("beside_benchmarks")
def test_waits_are_compared_on_the_same_data() -> None:
    decoding, cold_start = (importlib.import_module(name) for name in ("decoding", "cold_start"))
    names = ["opennmt-256", "jumok-256", "opennmt-kor"]
    rows = [r for r in decoding.all_rows(names) if (r.beam, r.batch) == (1, 1)]
    rows = [r for r in rows if r.engine in ("", "onnx") and not r.short]
    walls = dict(zip((r.name for r in rows), ([3.0, 4.0], [0.5, 0.5], [9.0, 9.0]), strict=True))
    theirs, ours, elsewhere = cold_start.summary(rows, walls)
    assert ours["times"] == {"opennmt": 7.0}
    assert (theirs["seconds"], theirs["times"], elsewhere["times"]) == (3.5, {}, {})


@pytest.mark.usefixtures("beside_benchmarks")
def test_decoders_stand_under_their_searches() -> None:
    report = importlib.import_module("report")
    common = {"turns": [1.0, 1.0, 1.0], "beam": 5, "batch": 64, "engine": "", "times": {}}
    common["shortlist"] = False
    slow = {"name": "slow", "data": "multi30k", "sentences_per_second": 0.91, "judged": 32}
    fast = {"name": "fast", "data": "multi30k", "sentences_per_second": 1234.5, "judged": 1000}
    kor = {"name": "k", "data": "kor", "sentences_per_second": 20.0, "judged": 450, "wer": 30.0}
    rows = [
        {**common, **slow, "bleu": 1.0},
        {**common, **fast, "bleu": 32.1, "engine": "onnx", "times": {"slow": 1356.6}},
        {**common, **fast, "bleu": 32.0, "engine": "onnx", "shortlist": True},
        {**common, **kor, "beam": 1, "batch": 1},
    ]
    page = report.decoding({"rows": rows})
    assert "| beam 5, batch 64 | slow | 0.9 |  | 1.00 (first 32) |" in page
    assert "| beam 5, batch 64 | fast, onnx | 1,234 | 1356.6 × slow | 32.10 |" in page
    assert "| beam 5, batch 64 | fast, onnx, shortlist | 1,234 |  | 32.00 |" in page
    assert "| greedy, batch 1 | k | 20 |  | 30.00 |" in page


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


def test_fast_roads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "fast-roads.json"
    options = ("--lengths", "3", "5", "--repeats", "1", "--updates", "1", "--output", str(output))
    subprocess.run(
        [sys.executable, str(BENCHMARKS / "fast_roads.py"), *options],
        check=True,
        capture_output=True,
    )
    stored = json.loads(output.read_text(encoding="utf-8"))
    assert len(stored["rows"]) == 3 * 2 * 2
    assert all(row["times"] > 0 for row in stored["rows"])
    monkeypatch.syspath_prepend(BENCHMARKS)
    page = importlib.import_module("report").fast_roads(stored)
    assert page.count("| bf16 |") == page.count("| fp32 |") == 3
    assert "| 3 tokens | 5 tokens |" in page
    assert f"{stored['heap']['times']:.2f} times as long" in page


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
def test_shortlists_are_told_of_by_engine_and_search() -> None:
    report = importlib.import_module("report")
    row = {"engine": "onnx", "beam": 5, "batch": 64, "vocabulary": 12345, "listed": 321}
    row |= {"milliseconds": 4.0, "milliseconds_shortlist": 1.96, "times_faster": 2.04}
    page = report.shortlist({"rows": [{**row, "bleu": 33.333, "bleu_shortlist": 33.3}]})
    assert "all 12,345 target tokens" in page and "of 321 a sentence" in page
    assert page.endswith("| onnx | beam 5, batch 64 | 4.0 | 2.0 | 2.0 | 33.33 | 33.30 |")


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
