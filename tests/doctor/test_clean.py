"""What is kept is what was there, in its order, and passes; everything else is in the log."""

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumok.config import DataConfig
from jumok.data import read_pairs
from jumok.doctor import DROPPED, KINDS, check, clean
from jumok.errors import ConfigError, DataError, StorageError

PAIRS = [(f"source {i}", f"target {i}") for i in range(30)]


def write(path, pairs):
    path.write_text("".join(f"{s}\t{t}\n" for s, t in pairs), encoding="utf-8")
    return path


def read(path):
    return [tuple(pair) for pair in read_pairs(path, DataConfig()).pairs]


def log_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_what_passes_is_written_and_the_rest_is_logged(tmp_path):
    lines = [f"{s}\t{t}".encode() for s, t in PAIRS]
    lines[3:3] = [b"one column", b"\xff\tb", b"source 0\ttarget 0", b"a\x01\tb", b"a\xc2\xa0\tb"]
    path, out, log = (tmp_path / name for name in ("p.tsv", "out.tsv", "log.jsonl"))
    path.write_bytes(b"".join(line + b"\r\n" for line in lines))
    test = write(tmp_path / "test.tsv", [PAIRS[10], ("source 11", "other"), ("x", "target 12")])
    cleaned = clean([path], out, test=[test], log=log)
    kept = [pair for i, pair in enumerate(PAIRS) if i not in (10, 11)]
    kept[3:3] = [("a\u00a0", "b")]
    assert out.read_bytes() == "".join(f"{s}\t{t}\n" for s, t in kept).encode()
    assert (cleaned.lines, cleaned.written) == (35, 29)
    assert cleaned.dropped == {
        "encoding": 1,
        "bad-line": 1,
        "control-character": 1,
        "overlap-pair": 1,
        "overlap-source": 2,
        "duplicate-pair": 1,
    }
    records = log_of(log)
    assert [(r["file"], r["line"], r["findings"]) for r in records] == [
        (str(path), 4, ["bad-line"]),
        (str(path), 5, ["encoding"]),
        (str(path), 6, ["duplicate-pair"]),
        (str(path), 7, ["control-character"]),
        (str(path), 16, ["overlap-pair", "overlap-source"]),
        (str(path), 17, ["overlap-source"]),
    ]
    assert records[0]["reason"].startswith("2 columns divided by tabs were expected")
    assert (records[2]["source"], records[2]["target"]) == ("source 0", "target 0")
    assert check([out], [test]).passed


def test_findings_can_be_chosen(tmp_path):
    path = write(tmp_path / "p.tsv", [*PAIRS, PAIRS[0], ("same", "same"), ("source 1", "x")])
    assert clean([path], tmp_path / "a.tsv").written == 32
    assert clean([path], tmp_path / "b.tsv", drop=[]).written == 33
    assert clean([path], tmp_path / "c.tsv", drop=["identical-sides"]).written == 32
    assert read(tmp_path / "c.tsv")[30:] == [PAIRS[0], ("source 1", "x")]
    chosen = ["duplicate-pair", "duplicate-source"]
    assert clean([path], tmp_path / "d.tsv", drop=chosen).dropped == dict.fromkeys(chosen, 1)


def test_an_outlier_that_is_left_out_repeats_nothing(tmp_path):
    """Where the first of two lines with a source goes, the second is the first."""
    rows = [("source 40", "x" * 500), *PAIRS, ("source 40", "target 40")]
    path = write(tmp_path / "p.tsv", rows)
    assert clean([path], tmp_path / "a.tsv", drop=["duplicate-source"]).written == 31
    cleaned = clean([path], tmp_path / "b.tsv", drop=["duplicate-source", "long-target"])
    assert (cleaned.written, cleaned.dropped) == (31, {"long-target": 1})
    assert read(tmp_path / "b.tsv") == rows[1:]


def test_what_tsv_cannot_hold_is_left_out(tmp_path):
    rows = [("a\tb", "c"), ("a\nb", "c"), ("a", "b\r"), ("a", "b\u2028c")]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in rows))
    cleaned = clean([path], tmp_path / "out.tsv", drop=[], log=tmp_path / "log.jsonl")
    assert cleaned.dropped == {"line-break": 3}
    assert read(tmp_path / "out.tsv") == [rows[3]]
    assert [r["source"] for r in log_of(tmp_path / "log.jsonl")] == ["a\tb", "a\nb", "a"]


def test_what_is_too_long_for_a_line_is_left_out(tmp_path):
    for side in "ab":
        lines = [side, side * 499_999, side * 500_000]
        (tmp_path / side).write_text("\n".join(lines), encoding="utf-8")
    cleaned = clean([f"{tmp_path / 'a'},{tmp_path / 'b'}"], tmp_path / "out.tsv", drop=[])
    assert cleaned.dropped == {"long-line": 1}
    assert [len(source) for source, _ in read(tmp_path / "out.tsv")] == [1, 499_999]


def test_a_byte_order_mark_in_a_text_stays(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"source": "\ufeffa", "target": "b"}), encoding="utf-8")
    clean([path], tmp_path / "out.tsv")
    assert read(tmp_path / "out.tsv") == [("\ufeffa", "b")]


@pytest.mark.parametrize(
    ("output", "log", "words"),
    [
        ("out.csv", None, "end in .tsv"),
        ("there.tsv", None, "exists"),
        ("out.tsv", "there.tsv", "exists"),
        ("out.tsv", "out.tsv", "Name two files"),
        ("out.tsv", "../{}/out.tsv", "Name two files"),
        ("nowhere/out.tsv", None, "no folder"),
    ],
)
def test_names_that_cannot_be_written_are_refused(tmp_path, output, log, words):
    there = write(tmp_path / "there.tsv", PAIRS)
    with pytest.raises(ConfigError, match=words):
        clean([there], tmp_path / output, log=log and tmp_path / log.format(tmp_path.name))
    assert read(there) == PAIRS
    assert [p.name for p in tmp_path.iterdir()] == ["there.tsv"]


def test_nothing_is_written_where_nothing_passes_or_something_breaks(tmp_path):
    path = write(tmp_path / "p.tsv", PAIRS)
    with pytest.raises(DataError, match=r"all 30 lines .*overlap-pair 30"):
        clean([path], tmp_path / "out.tsv", test=[path])

    def interrupt(what, lines, share):
        if what == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean([path], tmp_path / "out.tsv", log=tmp_path / "log.jsonl", tell=interrupt)
    with pytest.raises(ConfigError, match="no finding 'ratios'"):
        clean([path], tmp_path / "out.tsv", drop=["ratios"])
    assert [p.name for p in tmp_path.iterdir()] == ["p.tsv"]


def test_there_is_no_log_without_the_pairs(tmp_path, monkeypatch):
    path = write(tmp_path / "p.tsv", [*PAIRS, PAIRS[0]])
    replace = type(path).replace

    def refuse(old, new):
        if new.suffix == ".tsv":
            raise OSError(errno.ENOSPC, "full")
        return replace(old, new)

    monkeypatch.setattr(type(path), "replace", refuse)
    with pytest.raises(StorageError, match="no space left"):
        clean(path, tmp_path / "out.tsv", log=tmp_path / "log.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["p.tsv"]


TEXTS = st.one_of(
    st.text("ab가ㅋ\x01\u00a0é ", min_size=1, max_size=4),
    st.sampled_from(["x" * 40, "x" * 400, "漢字", "Ã©", "\ufeff", "\ufeffa", "a\u0301", "á"]),
).filter(str.strip)
ROWS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=60)


@given(ROWS, ROWS, st.sets(st.sampled_from(sorted(KINDS))).map(sorted) | st.just(DROPPED))
def test_what_is_kept_passes_and_is_a_part_of_what_was_there(tmp_path_factory, rows, test, drop):
    folder = tmp_path_factory.mktemp("clean")
    path = folder / "p.jsonl"
    path.write_text("".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in rows))
    tests = [write(folder / "t.tsv", [("first", "line"), *test])]
    out, log = folder / "out.tsv", folder / "log.jsonl"
    try:
        cleaned = clean([path], out, test=tests, log=log, drop=drop)
    except DataError:
        assert [p.name for p in folder.iterdir() if p.name[0] == "o"] == []
        return
    kept = read(out)
    left = iter(rows)
    assert all(pair in left for pair in kept)  # a subsequence
    logged = [(r["source"], r["target"]) for r in log_of(log)]
    assert sorted([*kept, *logged]) == sorted(rows)
    assert (cleaned.lines, cleaned.written) == (len(rows), len(kept))
    findings = {f.name for f in check([out]).findings}
    assert not findings & set(drop)
    # nothing of it is in the test file: the other way round, as check counts on its test files
    overlap = {f.name for f in check(tests, [out]).findings if f.part == "test"}
    assert not {name for name in overlap if name.startswith("overlap")} & set(drop)
