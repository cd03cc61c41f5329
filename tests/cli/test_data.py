"""`jumok data`: tables for people, JSON for programs, exit codes for scripts."""

import json

import pytest
from rich.cells import cell_len
from runs import run_cli

from jumok.cli.data import FOUND

PAIRS = [(f"주목 {i}", f"attention {i}") for i in range(30)]


@pytest.fixture
def pairs(tmp_path):
    def write(name, rows):
        path = tmp_path / name
        path.write_text("".join(f"{s}\t{t}\n" for s, t in rows), encoding="utf-8")
        return path

    return write


def test_exit_codes_say_what_was_found(pairs):
    good, note = pairs("good.tsv", PAIRS), pairs("note.tsv", [*PAIRS, ("ㅋㅋ", "lol")])
    twice = pairs("twice.tsv", [*PAIRS, PAIRS[0]])
    assert run_cli("data", "check", good).code == 0
    assert run_cli("data", "check", note).code == 0
    assert run_cli("data", "check", twice).code == FOUND == 9
    assert run_cli("data", "check", good, "--test", pairs("t.tsv", [PAIRS[3]])).code == FOUND
    assert run_cli("data", "check", "nowhere.tsv").code == 4


def test_a_table_fits_a_terminal(pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = ("유난히 길고 긴 원문이라서 " * 20, "an unusually long target " * 20)
    bad = [("one column", ""), ("벨\x07", "bell"), PAIRS[4]]
    pairs("train.tsv", [*PAIRS, long, *bad])
    pairs("test.tsv", [PAIRS[2], ("주목 3", "other")])
    result = run_cli("data", "check", "train.tsv", "--test", "test.tsv")
    assert (result.code, result.err) == (FOUND, "")
    lines = result.out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert "warning duplicate-pair      train         1    2.94%" in lines
    assert "          train.tsv:34, as in line 5" in lines
    assert "          test.tsv:1, as in train.tsv:3" in lines
    assert "            주목 2 | attention 2" in lines
    assert "            벨\\x07 | bell" in lines
    assert any(
        line.startswith("            유난히 길고") and "… | an unus" in line for line in lines
    )
    assert "train source    Hangul 100.00%" in lines
    [head] = [line for line in lines if line.startswith("forecast")]
    assert head == "forecast: vocabularies from 33 pairs, judged on 2 of the test files"
    assert any(line.startswith("source jamo *") for line in lines)


def test_json_is_for_programs(pairs):
    path = pairs("train.tsv", [*PAIRS, PAIRS[0]])
    result = run_cli("data", "check", path, "--format", "json")
    report = json.loads(result.out)
    assert (result.code, report["passed"]) == (FOUND, False)
    [finding] = [f for f in report["findings"] if f["name"] == "duplicate-pair"]
    assert (finding["severity"], finding["count"], finding["share"]) == ("warning", 1, 1 / 31)
    assert finding["examples"][0]["same"] == {"file": str(path), "line": 1}


def test_stdin_is_read_as_tsv(pairs):
    content = "".join(f"{s}\t{t}\n" for s, t in [*PAIRS, PAIRS[0]]).encode()
    result = run_cli("data", "check", "-", stdin=content)
    assert result.code == FOUND
    assert "<stdin>:31, as in line 1" in result.out


def test_stdin_is_given_once(pairs):
    result = run_cli("data", "check", "-", "--test", "-", stdin=b"a\tb\n")
    assert (result.code, "stdin can be read once" in result.err) == (3, True)


def test_settings_say_how_files_are_read_and_cut(pairs, tmp_path):
    path = tmp_path / "p.tsv"
    path.write_bytes("".join(f"x\t{t}\t{s}\n" for s, t in PAIRS).encode("cp949"))
    reading = ("--set", "data.encoding=cp949", "--set", "data.source_column=3")
    cut = ("--set", "text.target.kind=split", "--set", "text.target.vocab_size=10")
    result = run_cli("data", "check", path, *reading, *cut)
    assert result.code == 0
    [row] = [line.split() for line in result.out.splitlines() if line.startswith("target split")]
    assert row[2:4] == ["*", "10"]
    for setting in ("train.max_epochs=3", "data.dev_fraction=0.5", "data.skip_bad_lines=false"):
        result = run_cli("data", "check", path, "--set", setting)
        assert (result.code, "has no effect" in result.err) == (3, True)
    assert run_cli("data", "clean", path, "--output", "x.tsv", "--set", cut[1]).code == 3
    result = run_cli("data", "check", path, "--set", "data.encodin=cp949")
    assert (result.code, "Did you mean 'data.encoding'" in result.err) == (3, True)


def test_cleaning_tells_what_it_did(pairs, tmp_path):
    path = pairs("p.tsv", [*PAIRS, PAIRS[0], ("x", "y" * 400), ("aaa", "aaaaaaaa")])
    out, log = tmp_path / "out.tsv", tmp_path / "log.jsonl"
    result = run_cli("data", "clean", path, "--output", out, "--log", log, "--drop", "ratio")
    assert (result.code, result.out) == (0, "")
    told = f"31 of 33 lines are in {out}; left out: duplicate-pair 1"
    assert result.err.splitlines() == [f"{told}, ratio 1"]
    assert out.read_text(encoding="utf-8").count("\n") == 31
    logged = log.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["line"] for line in logged] == [31, 32]
    assert run_cli("data", "check", out).code == 0
    kept = run_cli(
        "data", "clean", path, "--output", tmp_path / "b.tsv", "--keep", "duplicate-pair"
    )
    assert (kept.code, kept.err.splitlines()[-1]) == (
        0,
        f"33 of 33 lines are in {tmp_path / 'b.tsv'}",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--drop", "ratios"), "Did you mean 'ratio'"),
        (("--keep", "ratios"), "Did you mean 'ratio'"),
        (("--drop", "ratio", "--keep", "ratio"), "opposite things"),
        (("--keep", "empty-side"), "not possible"),
        (("--keep", "line-break"), "not possible"),
    ],
)
def test_what_to_drop_must_make_sense(pairs, tmp_path, options, words):
    out = tmp_path / "out.tsv"
    result = run_cli("data", "clean", pairs("p.tsv", PAIRS), "--output", out, *options)
    assert (result.code, words in result.err, out.exists()) == (3, True, False)
