"""Files with known defects: each is found, counted, and told with its place."""

import gzip
import io
import json
import os
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import save_to_disk

from jumok.config import DataConfig, TextConfig
from jumok.doctor import DROPPED, KINDS, Spool, check, checking
from jumok.doctor.kinds import BITS, bits_of, names_in
from jumok.doctor.outliers import FEWEST, find_outliers, limits
from jumok.doctor.scan import Scan
from jumok.errors import ConfigError, DataError, StorageError

PAIRS = [(f"source {i}", f"target {i}") for i in range(30)]


def write(path, pairs):
    path.write_text("".join(f"{s}\t{t}\n" for s, t in pairs), encoding="utf-8")
    return path


def counts(report, part="train"):
    return {f.name: f.count for f in report.findings if f.part == part}


def places(report, name, part="train"):
    [finding] = [f for f in report.findings if (f.name, f.part) == (name, part)]
    return [(e.file, e.line) for e in finding.examples]


def test_nothing_is_found_where_nothing_is(tmp_path):
    report = check([write(tmp_path / "p.tsv", PAIRS)])
    assert (counts(report), report.passed) == ({}, True)
    [part] = report.parts
    assert (part.lines, part.pairs) == (30, 30)
    assert part.lengths["source"] == {"median": 9, "longest": 9}  # "source 10": 20 of 30
    assert part.scripts == {"source": {"Latin": 1.0}, "target": {"Latin": 1.0}}


def test_every_defect_of_a_file_is_counted(tmp_path):
    bad = [
        b"ab",  # 31
        b"",  # 32
        b"\tx",  # 33
        b"y\t \t",  # 34
        "가\t나".encode("cp949"),  # 35
        b"a\rb\tc",  # 36
        b"source 3\ttarget 3",  # 37
        b"source 4\tother",  # 38
        b"other\ttarget 5",  # 39
        b"same\tsame",  # 40
        b"a\x07\tcc",  # 41
        "ㅋ\u00a0ㅋ\tz z".encode(),  # 42
        b"source 3\ttarget 3",  # 43
    ]
    lines = [f"{s}\t{t}".encode() for s, t in PAIRS] + bad
    path = tmp_path / "p.tsv"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    report = check([path])
    assert counts(report) == {
        "bad-line": 3,
        "empty-side": 2,
        "encoding": 1,
        "duplicate-pair": 2,
        "duplicate-source": 1,
        "duplicate-target": 1,
        "identical-sides": 1,
        "control-character": 1,
        "loose-jamo": 1,
        "odd-space": 1,
        "other-script": 1,
    }
    assert not report.passed
    assert (report.parts[0].lines, report.parts[0].pairs) == (43, 37)
    assert places(report, "bad-line") == [(str(path), line) for line in (31, 32, 36)]
    assert places(report, "encoding") == [(str(path), 35)]
    [finding] = [f for f in report.findings if f.name == "duplicate-pair"]
    assert (finding.severity, finding.share) == ("warning", 2 / 43)
    assert [(e.line, e.same.line, e.source) for e in finding.examples] == [
        (37, 4, "source 3"),
        (43, 4, "source 3"),
    ]
    order = [list(KINDS).index(finding.name) for finding in report.findings]
    assert order == sorted(order)


def test_a_line_of_a_directory_is_told_by_the_file_in_it(tmp_path):
    save_to_disk(tmp_path / "d", [*PAIRS, PAIRS[3]], shards=2)
    report = check([tmp_path / "d"])
    [example] = report.findings[0].examples
    first, second = (str(tmp_path / "d" / f"data-0000{i}-of-00002.arrow") for i in range(2))
    assert (example.file, example.line) == (second, 15)
    assert (example.same.file, example.same.line) == (first, 4)


@pytest.mark.parametrize(
    ("name", "text", "settings", "lines"),
    [
        ("p.csv", 'source,target\na,b\n\n"c\nd",e\na,b\n', {}, [("duplicate-pair", 6)]),
        ("p.csv", 'source,target\na,b\n\n"c\nd",e\na,b\n', {}, [("line-break", 4)]),
        ("p.jsonl", '{"s": "a", "t": "b"}\n\n{"s": "a", "t": "b"}\n',
         {"source_column": "s", "target_column": "t"}, [("duplicate-pair", 3)]),
        ("p.tsv", "x\tb\ta\nx\tb\ta\n", {"source_column": "3", "target_column": "2"},
         [("duplicate-pair", 2)]),
    ],
)  # fmt: skip
def test_lines_are_those_of_the_file_in_every_format(tmp_path, name, text, settings, lines):
    (tmp_path / name).write_text(text, encoding="utf-8")
    report = check([tmp_path / name], data=DataConfig(**settings))
    for finding, line in lines:
        assert places(report, finding) == [(str(tmp_path / name), line)]


def test_parallel_text_and_several_files(tmp_path):
    (tmp_path / "p.ko").write_text("가\n나\n", encoding="utf-8")
    (tmp_path / "p.en").write_text("a\nb\n", encoding="utf-8")
    (tmp_path / "q.tsv.gz").write_bytes(gzip.compress("다\tc\n나\tb\n".encode()))
    both = f"{tmp_path / 'p.ko'},{tmp_path / 'p.en'}"
    report = check([both, tmp_path / "q.tsv.gz"])
    assert counts(report) == {"duplicate-pair": 1}
    [example] = report.findings[0].examples
    assert (example.file, example.line) == (str(tmp_path / "q.tsv.gz"), 2)
    assert (example.same.file, example.same.line) == (both, 2)


def test_overlap_is_counted_on_the_test_files(tmp_path):
    train = write(tmp_path / "train.tsv", PAIRS)
    rows = [PAIRS[7], PAIRS[7], ("source 8", "new"), ("new", "target 9"), ("new 2", "new 2")]
    report = check([train], [write(tmp_path / "test.tsv", rows)])
    assert counts(report) == {}
    assert counts(report, "test") == {
        "overlap-pair": 2,
        "overlap-source": 3,
        "overlap-target": 3,
        "duplicate-pair": 1,
        "identical-sides": 1,
    }
    examples = report.findings[1].examples
    assert [(e.line, e.same.file, e.same.line) for e in examples] == [
        (1, str(train), 8), (2, str(train), 8), (3, str(train), 9),
    ]  # fmt: skip


def test_texts_that_are_typed_in_two_ways_are_the_same(tmp_path):
    rows = [("\u1112\u1161\u11ab", "e\u0301"), ("한", "é")]
    assert counts(check([write(tmp_path / "p.tsv", rows)])) == {"not-nfc": 1, "duplicate-pair": 1}


def test_where_tokenizers_ignore_case_repeats_do_too(tmp_path):
    train = write(tmp_path / "train.tsv", [("CAT", "k a t"), ("Cat", "K A T"), ("\u0130", "i")])
    test = write(tmp_path / "test.tsv", [("cat", "k"), ("É", "e")])
    assert counts(check([train], [test]), "test") == {}
    text = TextConfig.model_validate({"source": {"lowercase": True}})
    report = check([train], [test], text=text)
    assert counts(report, "test") == {"overlap-source": 1}
    assert counts(report) == {"duplicate-source": 1}


TEXTS = st.text("aab가é ", min_size=1, max_size=3).filter(str.strip)


@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=30), st.lists(st.tuples(TEXTS, TEXTS))
)
def test_repeats_are_those_of_a_set(tmp_path_factory, train, test):
    folder = tmp_path_factory.mktemp("p")
    files = write(folder / "a.tsv", train), write(folder / "b.tsv", test)
    report = check([files[0]], [files[1]] if test else [])
    seen, expected = set(), Counter()
    for pair in train:
        if pair in seen:
            expected["duplicate-pair"] += 1
        else:
            expected["duplicate-source"] += any(pair[0] == s for s, _ in seen)
            expected["duplicate-target"] += any(pair[1] == t for _, t in seen)
        seen.add(pair)
    found = counts(report)
    assert {k: found.get(k, 0) for k in expected} == expected
    sources, targets = {s for s, _ in train}, {t for _, t in train}
    found = counts(report, "test")
    assert found.get("overlap-pair", 0) == sum(pair in seen for pair in test)
    assert found.get("overlap-source", 0) == sum(s in sources for s, _ in test)
    assert found.get("overlap-target", 0) == sum(t in targets for _, t in test)


def test_outliers_are_beyond_the_outer_fences_of_logarithms(tmp_path):
    """Lengths of which one knows the quartiles."""
    draw = random.Random(0)
    lengths = [8] * 9 + [16] * 21 + [32] * 9  # q1 16, q3 16: their ratio counts as 1.25
    draw.shuffle(lengths)
    report = check([write(tmp_path / "p.tsv", [("x" * n, f"{n} y") for n in lengths])])
    assert report.parts[0].limits.source == round(16 * 1.25**3, 3)
    assert counts(report)["long-source"] == 9
    lengths = [8] * 20 + [16] * 20 + [127, 128, 129]
    report = check([write(tmp_path / "p.tsv", [("x" * n, "y" * n) for n in lengths])])
    assert report.parts[0].limits.source == 16 * 2**3  # q1 8, q3 16
    assert report.parts[0].limits.high_ratio == pytest.approx(1.25**3, rel=1e-5)
    assert places(report, "long-source") == [(str(tmp_path / "p.tsv"), 43)]
    assert "ratio" not in counts(report)


def test_both_ends_of_the_ratio_are_judged(tmp_path):
    rows = [("x" * 10, "y" * 20)] * 30 + [("x" * 20, "y" * 10), ("x" * 10, "y" * 40)]
    report = check([write(tmp_path / "p.tsv", rows)])
    found = report.parts[0].limits
    assert (found.low_ratio, found.high_ratio) == (2 / 1.25**3, 3.90625)
    assert [line for _, line in places(report, "ratio")] == [31, 32]


def test_limits_of_tiny_ratios_are_not_zero(tmp_path):
    rows = [(f"{i:05}" * 1000, "yes") for i in range(29)] + [("x" * 90_000, "yes")]
    columns = Scan([write(tmp_path / "p.tsv", rows)]).columns
    found = limits(columns)
    assert 0 < found.low_ratio < 3 / 5000 < found.high_ratio
    assert np.flatnonzero(find_outliers(columns) & BITS["ratio"]).tolist() == [29]


def test_among_few_pairs_nothing_is_an_outlier(tmp_path):
    rows = [("x", "y")] * (FEWEST - 2) + [("x" * 99, "y")]
    report = check([write(tmp_path / "p.tsv", rows)])
    assert report.parts[0].limits.source is None
    assert not {"ratio", "long-source"} & set(counts(report))


def test_a_line_in_another_script_is_one_without_the_usual_letters(tmp_path):
    rows = [(f"한국어 {i}", "ひらがな漢字") for i in range(40)]
    rows += [("SNS 흔적", "カタカナ"), ("English", "漢字"), ("1, 2", "english")]
    report = check([write(tmp_path / "p.tsv", rows)])
    assert [line for _, line in places(report, "other-script")] == [42, 43]


def test_the_forecast_is_what_training_would_meet(tmp_path):
    """Tokens counted by hand: two of six words of the test file are new, one of nine letters."""
    train = write(tmp_path / "train.tsv", [("a b", "가 나"), ("b a", "나 가")])
    test = write(tmp_path / "test.tsv", [("a b c", "가나"), ("a b b", "가")])
    report = check([train], [test])
    assert (report.forecast_from, report.forecast_on) == (2, 2)
    found = {(one.side, one.kind): one for one in report.forecast}
    assert set(found) == {
        *(("source", kind) for kind in ("char", "word", "bpe", "unigram")),
        *(("target", kind) for kind in ("char", "jamo", "word", "bpe", "unigram")),
    }
    assert [key for key, one in found.items() if one.chosen] == [
        ("source", "char"), ("target", "jamo"),
    ]  # fmt: skip
    assert found["source", "char"][3:] == (4 + 3, 1 / 10, 5)
    assert found["source", "word"][3:] == (4 + 2, 1 / 6, 3)
    assert found["target", "word"][3:] == (4 + 2, 1 / 2, 1)
    assert found["target", "jamo"][3:] == (4 + 4, 0, 3)  # ᄀ ᅡ ᄂ space


def test_a_tenth_is_held_out_by_its_sources(tmp_path):
    rows = [(f"{i % 1000}", f"t{i}") for i in range(3000)]
    report = check([write(tmp_path / "p.tsv", rows)])
    assert (report.forecast_from, report.forecast_on) == (2700, 300)
    [word] = [f for f in report.forecast if (f.side, f.kind) == ("source", "word")]
    assert word.unknown == 1.0  # equal sources stay on one side
    for few, made_from in ((2, 1), (1, 0)):
        report = check([write(tmp_path / "p.tsv", PAIRS[:few])])
        assert report.forecast_from == report.forecast_on == made_from


@pytest.mark.parametrize(("pairs", "characters", "made_from"), [(29, 999, 15), (30, 240, 10)])
def test_a_forecast_is_made_from_a_part_of_many_pairs(
    tmp_path, monkeypatch, pairs, characters, made_from
):
    """30 pairs have 540 characters: every second or third is taken."""
    monkeypatch.setattr(checking, "_MOST_PAIRS", pairs)
    monkeypatch.setattr(checking, "_MOST_CHARACTERS", characters)
    rows = [(f"source {i:02}", f"target {i:02}") for i in range(30)]
    report = check([write(tmp_path / "p.tsv", rows)], [write(tmp_path / "q.tsv", PAIRS[:3])])
    assert (report.forecast_from, report.forecast_on) == (made_from, 3)


def test_settings_of_tokenizers_hold_in_the_forecast(tmp_path):
    text = TextConfig.model_validate({"target": {"kind": "split", "separator": "-"}})
    path = write(tmp_path / "p.tsv", [(f"s{i}", "a-b") for i in range(200)])
    [split] = [f for f in check([path], text=text).forecast if f.kind == "split"]
    assert (split.side, split.chosen, split.vocabulary, split.tokens) == ("target", True, 6, 2)


def test_a_vocabulary_that_is_left_empty_is_a_forecast(tmp_path):
    rows = [(f"word{i} other{i}", f"target {i}") for i in range(30)]
    text = TextConfig.model_validate({"source": {"min_count": 2}})
    found = check([write(tmp_path / "p.tsv", rows)], text=text).forecast
    [word] = [one for one in found if (one.side, one.kind) == ("source", "word")]
    assert (word.vocabulary, word.unknown, word.tokens) == (4, 1, 2)
    assert len(found) == 8


def test_features_are_no_text_of_the_source(tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text("".join(f"ab\tba\tN{i}\n" for i in range(10)), encoding="utf-8")
    report = check([path], [path], data=DataConfig(features_column="3"))
    [char] = [one for one in report.forecast if (one.side, one.kind) == ("source", "char")]
    assert (char.vocabulary, char.tokens) == (4 + 2, 2)


def test_a_stream_is_read_twice(tmp_path):
    content = b"a\tb\nc\nx\ty\nx\ty\n"
    stream = io.BytesIO(content)
    stream.name = "<stdin>"
    with Spool(stream) as spool:
        report = check([spool])
    assert counts(report) == {"bad-line": 1, "duplicate-pair": 1}
    assert places(report, "duplicate-pair") == [("<stdin>", 4)]


def test_a_pipe_is_refused_as_it_cannot_be_read_twice(tmp_path):
    os.mkfifo(tmp_path / "p.tsv")
    with pytest.raises(DataError, match=r"p\.tsv: .* a pipe or device"):
        check([tmp_path / "p.tsv"])


def test_a_full_disk_is_told_while_a_stream_is_kept(full_disk):
    with full_disk(), pytest.raises(StorageError, match="Could not write"):
        Spool(io.BytesIO(b"a\tb\n" * 10_000))


def test_progress_never_goes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("jumok.doctor.scan._OFTEN", 1)
    folder = tmp_path / "d"
    folder.mkdir()
    for i in range(3):
        path = folder / f"train-{i}-of-3.csv"
        path.write_text("source,target\n" + f"a{i},b\n" * 9_000, encoding="utf-8")
    shares = []
    Scan([folder, write(tmp_path / "p.tsv", PAIRS)], tell=lambda *told: shares.append(told[2]))
    assert shares == sorted(shares) and shares[0] < 0.25 and shares[-1] == 1


def test_each_piece_of_work_is_told_from_its_beginning(tmp_path):
    """Or the pace of one would be told as that of the next."""
    told = {}
    check([write(tmp_path / "p.tsv", PAIRS)], tell=lambda what, *done: told.setdefault(what, done))
    assert {what: done for what, (done, _) in told.items()} == {
        "reading": 0, "reading again": 0, "trying tokenizers": 0,
    }  # fmt: skip


def test_a_report_is_plain_data(tmp_path):
    train, test = write(tmp_path / "a.tsv", PAIRS), write(tmp_path / "b.tsv", PAIRS[:2])
    report = check([train], [test])
    plain = json.loads(json.dumps(report.to_dict()))
    assert list(plain) == [
        "passed", "parts", "findings", "forecast", "forecast_from", "forecast_on",
    ]  # fmt: skip
    assert plain["passed"] is False
    assert plain["parts"][0]["limits"]["high_ratio"] == report.parts[0].limits.high_ratio
    assert plain["findings"][0]["examples"][0]["same"] == {"file": str(train), "line": 1}
    assert set(plain["forecast"][0]) == {
        "side", "kind", "chosen", "vocabulary", "unknown", "tokens",
    }  # fmt: skip


def test_files_without_a_pair_are_refused(tmp_path):
    with pytest.raises(DataError, match="there are none"):
        check([write(tmp_path / "p.tsv", [])])
    with pytest.raises(DataError, match="no such file"):
        check([tmp_path / "q.tsv"])
    with pytest.raises(DataError, match="none was named"):
        check([])


def test_one_file_need_not_be_a_list(tmp_path):
    path = write(tmp_path / "p.tsv", PAIRS)
    for name in (path, str(path)):
        assert counts(check(name, name), "test")["overlap-pair"] == 30


def test_a_file_that_changes_is_noticed(tmp_path):
    path = write(tmp_path / "p.tsv", PAIRS * 2)
    other = write(tmp_path / "q.tsv", PAIRS)
    told = []

    def shorten(what, lines, share):
        told.append((what, lines))
        if what == "reading again":
            write(other, PAIRS[:3])

    with pytest.raises(DataError, match=r"q\.tsv: .* has changed"):
        check([path, other], tell=shorten)
    assert ("reading", 0) in told


@pytest.mark.parametrize(
    "now", [PAIRS[1:], [*PAIRS, PAIRS[0]], [("other", "pair"), *PAIRS[1:]], [("", "a"), *PAIRS[1:]]]
)
def test_a_file_whose_lines_change_is_named(tmp_path, now):
    paths = [write(tmp_path / f"{name}.tsv", PAIRS) for name in "abc"]
    scan = Scan(paths)
    write(paths[1], now)
    with pytest.raises(DataError, match=r"b\.tsv: .* has changed"):
        list(scan.rows("again"))


def test_findings_are_numbers_and_back():
    every = bits_of(KINDS)
    assert np.uint32(every) == every
    assert list(names_in(every)) == list(KINDS)
    assert list(names_in(BITS["ratio"] | BITS["encoding"])) == ["encoding", "ratio"]
    assert {KINDS[name].severity for name in DROPPED} == {"error", "warning"}
    with pytest.raises(ConfigError, match="Did you mean 'ratio'"):
        bits_of(["ratios"])
