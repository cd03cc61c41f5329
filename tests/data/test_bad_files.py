"""A corpus of broken files: each raises `DataError` at its place and says what to do."""

import errno
import gzip
import time
import tracemalloc
from pathlib import Path

import pytest

from jumok.config import DataConfig
from jumok.data import read_pairs, read_texts
from jumok.data.lines import MAX_LINE
from jumok.errors import DataError

GOOD = b"a\tb\n"
CSV = b"source,target\nx,y\n"
JSON = b'{"source": "a", "target": "b"}\n'
GZIP = gzip.compress(GOOD * 50_000)

# name: (file name, content, line or None, words of the message)
LINES = {
    "one column": ("a.tsv", GOOD + b"only\n", 2, ["2 columns", "1 came", "Correct the line"]),
    "empty line": ("a.tsv", GOOD + b"\n" + GOOD, 2, ["the line is empty"]),
    "empty source": ("a.tsv", GOOD + b" \tb\n", 2, ["the source is empty", "Fill it in"]),
    "empty target": ("a.tsv", GOOD + b"a\t\n", 2, ["the target is empty"]),
    "empty target crlf": ("a.tsv", GOOD + b"a\t\r\n", 2, ["the target is empty"]),
    "cp949": ("a.tsv", GOOD + "안녕\thi\n".encode("cp949"), 2, ["cp949: set data.encoding=cp949"]),
    "latin-1": ("a.tsv", GOOD * 2 + "é\thi\n".encode("latin-1"), 3, ["Set data.encoding"]),
    "cut utf-8": ("a.tsv", GOOD + "a\t가".encode()[:-1], 2, ["not valid utf-8"]),
    "encoded surrogate": ("a.tsv", GOOD + b"a\t\xed\xa0\x80\n", 2, ["not valid utf-8"]),
    "NUL": ("a.tsv", GOOD * 3 + b"a\0\tb\n", 4, ["NUL", "Remove it"]),
    "carriage return": ("a.tsv", GOOD + b"a\tb\rc\td\n", 2, ["carriage return", "LF or CRLF"]),
    "endless line": ("a.tsv", GOOD + b"x" * 1_500_000 + b"\n", 2, ["1000000 characters"]),
    "endless last line": ("a.tsv", GOOD + b"x" * 3_500_000, 2, ["1000000 characters"]),
    "csv: fewer fields": ("a.csv", CSV + b"x\n", 3, ["2 columns", "1 came"]),
    "csv: more fields": (
        "a.csv", CSV + "잘 가,Goodbye, friend\n".encode(), 3, ["2 columns", "3 came", "quotation"]
    ),
    "csv: fewer fields than the header": (
        "a.csv", b"source,target,note\nx,y,\nx,y\n", 3, ["3 columns", "2 came"]
    ),
    "csv: empty side": ("a.csv", CSV + b"x,\n", 3, ["target is empty"]),
    "csv: after a quoted line end": ("a.csv", CSV + b'"x\nx",y\nz\n', 5, ["2 columns"]),
    "csv: open quote": (
        "a.csv", CSV + b'"x,y\nz,z\n', 3, ["on to line", "not valid CSV", "Close every"]
    ),
    "csv: stray quote": ("a.csv", CSV + b'"x"x,y\n', 3, ["not valid CSV"]),
    "csv: bytes": ("a.csv", CSV + "안녕,y\n".encode("cp949"), 3, ["data.encoding=cp949"]),
    "jsonl: not JSON": ("a.jsonl", JSON + b"{'source': 1}\n", 2, ["not valid JSON"]),
    "jsonl: deep": ("a.jsonl", JSON + b"[" * 100_000, 2, ["not valid JSON"]),
    "jsonl: long number": ("a.jsonl", JSON + b"9" * 9_999, 2, ["not valid JSON"]),
    "jsonl: list": ("a.jsonl", JSON + b'["a", "b"]\n', 2, ["JSON object", '["a", "b"] came']),
    "jsonl: field": ("a.jsonl", JSON + b'{"sorce": "a"}\n', 2, ["Did you mean 'sorce'", "data.so"]),
    "jsonl: number": ("a.jsonl", JSON + b'{"source": 5}\n', 2, ["should hold text, but 5 came"]),
    "jsonl: empty": ("a.jsonl", JSON + b'{"source": "", "target": "b"}', 2, ["source is empty"]),
    "jsonl: surrogate": (
        "a.jsonl", JSON + b'{"source": "\\ud800", "target": "b"}', 2, ["surrogate"]
    ),
}  # fmt: skip

FILES = {
    "empty": ("a.tsv", b"", None, ["there are none"]),
    "empty csv": ("a.csv", b"", None, ["there are none"]),
    "only a header": ("a.csv", b"source,target\n", None, ["there are none"]),
    "only a mark": ("a.tsv", b"\xef\xbb\xbf", None, ["there are none"]),
    "blank jsonl": ("a.jsonl", b"\n\n", None, ["there are none"]),
    "utf-16": ("a.tsv", "a\tb\n".encode("utf-16"), None, ["set data.encoding=utf-16"]),
    "utf-16 no mark": ("a.tsv", "abc\tb\n".encode("utf-16-be"), None, ["data.encoding=utf-16-be"]),
    "binary": ("a.tsv", b"\x89PNG\r\n\x1a\n\0\0\xff\0\1", None, ["binary file", "Export"]),
    "zip": ("a.csv", b"PK\3\4\x14\0\6\0\x08\0\0\0!\0\xdf\xff", None, ["binary file"]),
    "cut gzip": ("a.tsv.gz", GZIP[:-40], None, ["cut off or damaged", "again"]),
    "gzip of nothing": ("a.tsv.gz", GZIP[:5], None, ["cut off or damaged"]),
    "broken gzip": ("a.tsv.gz", GZIP[:30] + b"\0" * 40 + GZIP[70:], None, ["cut off or damaged"]),
    "not gzip": ("a.tsv.gz", GOOD, None, ["not gzip"]),
    "unknown name": ("a.xlsx", GOOD, None, [".tsv, .txt, .csv, .jsonl", "data.format"]),
    "csv: column": (
        "a.csv", b"Source,target\na,b\n", 1, ["Did you mean 'Source'", "Source, target", "data.so"]
    ),
    "csv: column, after empty lines": ("a.csv", b"\n\nsrc,target\na,b\n", 3, ["is missing"]),
    "csv: column twice": ("a.csv", b"source,source,target\na,b,c\n", 1, ["comes twice"]),
    "csv: header": ("a.csv", b'"source,target\na,b\n', 1, ["not valid CSV"]),
}  # fmt: skip


def check(error, path, line, words):
    assert error.path == path
    assert error.line == line
    assert str(error).startswith(f"{path}:{line}: " if line else f"{path}: ")
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize("name", LINES)
def test_bad_line_stops_with_its_number(tmp_path, name):
    file, content, line, words = LINES[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_pairs([path], DataConfig())
    check(caught.value, path, line, [*words, "skip_bad_lines"])


@pytest.mark.parametrize("name", LINES)
def test_bad_line_is_skipped_and_reported(tmp_path, name):
    file, content, line, words = LINES[name]
    path = tmp_path / file
    more = {"tsv": GOOD, "csv": b"a,b,\n", "jsonl": JSON}[file[2:]]
    path.write_bytes(content.removesuffix(b"\n") + b"\n" + more)
    read = read_pairs([path], DataConfig(skip_bad_lines=True))
    assert len(read.bad) == 1
    check(read.bad[0], path, line, words)
    assert read.pairs[-1] == ("a", "b")


@pytest.mark.parametrize("closed", [True, False])
def test_an_open_quote_takes_no_other_row_with_it(tmp_path, closed):
    rows = [f"s{n},t{n}" for n in range(2, 1001)]
    rows[5] = '"' + rows[5]  # line 7
    rows[15] += "\0"
    if closed:
        rows[20:20] = ['"two', 'lines, and",x']
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["source,target", *rows]), encoding="utf-8")
    read = read_pairs([path], DataConfig(skip_bad_lines=True))
    assert [error.line for error in read.bad] == [7, 17]
    assert f"the row that goes on to line {22 if closed else 1000} is" in str(read.bad[0])
    others = [(f"s{n}", f"t{n}") for n in range(2, 1001) if n not in (7, 17)]
    assert set(read.pairs) == {*others, *([("two\nlines, and", "x")] if closed else [])}


def test_open_quotes_cost_no_more_than_their_lines(tmp_path):
    """A mark that each line leaves open, and no other line closes."""
    path = tmp_path / "a.csv"
    path.write_text("source,target\na,b\n" + 'x","\n' * 20_000, encoding="utf-8")
    began = time.process_time()
    read = read_pairs([path], DataConfig(skip_bad_lines=True))
    assert len(read.bad) == 20_000 and time.process_time() - began < 10


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_bad_file_always_stops(tmp_path, name, skip):
    file, content, line, words = FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_pairs([path], DataConfig(skip_bad_lines=skip))
    check(caught.value, path, line, words)


def test_a_file_of_bad_lines_only_is_an_error(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"a\nb\n")
    with pytest.raises(DataError, match=r"all 2 lines are bad, the first because .*2 columns"):
        read_pairs([path], DataConfig(skip_bad_lines=True))


def test_missing_file_directory_and_nothing(tmp_path):
    (tmp_path / "train.tsv").write_bytes(GOOD)
    for name, words in (("trian.tsv", "Did you mean .*train.tsv"), ("x/y.tsv", "Check the name")):
        with pytest.raises(DataError, match=words):
            read_pairs([tmp_path / name], DataConfig())
    with pytest.raises(DataError, match="a directory came"):
        read_pairs([tmp_path], DataConfig())
    with pytest.raises(DataError, match="none was named"):
        read_pairs([], DataConfig())
    with pytest.raises(DataError, match="none was named"):
        read_texts([], DataConfig())


def test_what_the_system_does_not_let_be_seen_is_told(tmp_path, monkeypatch):
    """A directory without x, and one without r: tests may run as root, whom none of it stops."""

    def refuse(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        for name in ("a.tsv", "a,b"):
            with pytest.raises(DataError, match=r"cannot be read \(Permission denied"):
                read_pairs(tmp_path / name, DataConfig())
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"there is no such file\. Check the name"):
        read_pairs(tmp_path / "a.tsv", DataConfig())


def test_an_endless_line_is_not_read_into_memory(tmp_path):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(GOOD + b"x" * (40 * MAX_LINE), compresslevel=1))
    tracemalloc.start()
    read_pairs([path], DataConfig(skip_bad_lines=True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * MAX_LINE


# --- parallel text -------------------------------------------------------------------------------


def parallel(tmp_path, left, right, **settings):
    (tmp_path / "s").write_bytes(left)
    (tmp_path / "t").write_bytes(right)
    return read_pairs([f"{tmp_path / 's'},{tmp_path / 't'}"], DataConfig(**settings))


@pytest.mark.parametrize("skip", [False, True])
def test_files_of_different_length_always_stop(tmp_path, skip):
    with pytest.raises(DataError, match=r"has 5 lines, but .*t has 2") as caught:
        parallel(tmp_path, b"1\n2\n3\n4\n5\n", b"1\n2\n", skip_bad_lines=skip)
    assert (caught.value.path, caught.value.line) == (tmp_path / "s", 3)
    with pytest.raises(DataError, match=r"has 2 lines, but .*s has 1") as caught:
        parallel(tmp_path, b"1\n", b"1\n2", skip_bad_lines=skip)
    assert (caught.value.path, caught.value.line) == (tmp_path / "t", 2)


def test_a_bad_line_takes_its_partner_with_it(tmp_path):
    read = parallel(tmp_path, b"1\n\n3\n\xff\n5\n", b"a\nb\n \nd\ne\n", skip_bad_lines=True)
    assert read.pairs == [("1", "a"), ("5", "e")]
    found = [(e.path.name, e.line) for e in read.bad]
    assert found == [("s", 2), ("t", 3), ("s", 4)]


def test_one_file_is_not_parallel(tmp_path):
    (tmp_path / "s").write_bytes(GOOD)
    with pytest.raises(DataError, match="SOURCE,TARGET"):
        read_pairs([tmp_path / "s"], DataConfig(format="parallel"))
    with pytest.raises(DataError, match="no such file"):
        read_pairs([f"{tmp_path / 's'},{tmp_path / 'nothing'}"], DataConfig())
