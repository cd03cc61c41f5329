"""A corpus of broken inputs, each given to `jumok train`: a sentence, an exit code, and no load.

What the readers find line by line is in tests/data; here every kind of breakage goes once through
the command line, with a clock and with a look at the memory.
"""

import gzip
import io
import json
import os
import re
import struct
import threading
import time
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from runs import SIZES, as_options, backwards, letters, run_cli
from written import save_dict_to_disk, save_to_disk, table, tmx, write_parquet

from jumok.errors import ConfigError, DataError

PAIRS = backwards(letters(30, 2, 4))
GOOD = "".join(f"{s}\t{t}\n" for s, t in PAIRS).encode()
CSV = b"source,target\n" + b"".join(f"{s},{t}\n".encode() for s, t in PAIRS)
JSON = b"".join(json.dumps({"source": s, "target": t}).encode() + b"\n" for s, t in PAIRS)
UNITS = [[("en", s), ("ko", t)] for s, t in PAIRS]
TMX = tmx(*UNITS).encode()
LONG = b"a" * 9_990 + b"\n"
BODY = TMX.split(b"</body>")[0]
GZIP = gzip.compress(GOOD * 1000)


def huge(head, unit, tail):
    """A small gzip file of ``unit`` after ``unit``, to so many megabytes as are asked for."""
    million = gzip.compress(unit * (1_000_000 // len(unit)), 1)
    return lambda megabytes: gzip.compress(head) + million * megabytes + gzip.compress(tail)


def laughs(first, count, factor=10):
    """Entities of entities, as many deep as ``count``."""
    names = [f"e{i}" for i in range(count)]
    steps = [f'<!ENTITY {b} "{f"&{a};" * factor}">' for a, b in pairwise(names)]
    text = f'<!ENTITY {names[0]} "{first}">' + "".join(steps)
    return tmx([("en", f"&{names[-1]};"), ("ko", "b")], doctype=f"<!DOCTYPE tmx [{text}]>").encode()


def workbook():
    """What a spreadsheet is: a zip file of XML."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("[Content_Types].xml", "xl/workbook.xml", "xl/worksheets/sheet1.xml"):
            file.writestr(name, TMX)
    return content.getvalue()


def png():
    """The smallest picture."""
    parts = [(b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"00"))]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


SECRET = '<!DOCTYPE tmx [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
EXTERNAL = tmx([("en", "&e;"), ("ko", "b")], doctype=SECRET).encode()

# name: (file name, content, place after the file name, words, settings)
FILES = {
    # nothing, or something else
    "empty": ("p.tsv", b"", ": ", ["there are none"], {}),
    "blank": ("p.jsonl", b"\n \n\n", ": ", ["there are none"], {}),
    "only a header": ("p.csv", b"source,target\n", ": ", ["there are none"], {}),
    "picture": ("p.tsv", png(), ": ", ["binary file", "Export it as text"], {}),
    "spreadsheet": ("p.csv", workbook(), ": ", ["binary file"], {}),
    "zip as TMX": ("p.tmx", workbook(), ":1: ", ["XML is malformed"], {}),
    "zip as Parquet": ("p.parquet", workbook(), ": ", ["damaged", "magic"], {}),
    "unknown ending": ("p.xlsx", GOOD, ": ", [".tsv, .txt, .csv, .jsonl, .tmx, .parquet"], {}),
    "pointer": ("p.parquet", b"version https://git-lfs.github.com/spec/v1\n", ": ",
                ["git lfs pull"], {}),
    "text as Parquet": ("p.parquet", GOOD, ": ", ["magic bytes not found"], {}),
    "web page": ("p.tmx", b"<!DOCTYPE html>\n<html></html>", ":2: ", ["<html> came"], {}),
    # encodings
    "cp949": ("p.tsv", GOOD + "가나\t다라\n".encode("cp949"), ":31: ", ["data.encoding=cp949"], {}),
    "latin-1": ("p.csv", CSV + "é,b\n".encode("latin-1"), ":32: ", ["Set data.encoding"], {}),
    "utf-16": ("p.tsv", GOOD.decode().encode("utf-16"), ": ", ["set data.encoding=utf-16"], {}),
    "utf-16 without mark": ("p.tsv", b"".join(bytes([c, 0]) for c in b"abc\tb\n" * 9), ": ",
                            ["set data.encoding=utf-16-le"], {}),
    "mark expected": ("p.tsv", "가\t나\n".encode("utf-16-le"), ": ",
                      ["not valid utf-16", "Set data.encoding"], {"data.encoding": "utf-16"}),
    "utf-8 called cp949": ("p.tsv", "뷁\t뷁\n".encode(), ":1: ", ["data.encoding=utf-8"],
                           {"data.encoding": "cp949"}),
    "half a character": ("p.tsv", GOOD + "a\t가".encode()[:-1], ":31: ", ["not valid utf-8"], {}),
    "cp949 in TMX": ("p.tmx", TMX.decode().encode("cp949"), ":4: ", ["data.encoding=cp949"], {}),
    "euc-kr in TMX": (
        "p.tmx", TMX.decode().replace("?>", ' encoding="euc-kr"?>', 1).encode("cp949"), ":1: ",
        ["data.encoding=euc-kr"], {}),
    # cut off
    "cut gzip": ("p.tsv.gz", GZIP[: len(GZIP) // 2], ": ", ["cut off or damaged"], {}),
    "changed gzip": ("p.tsv.gz", GZIP[:50] + b"\0" * 40 + GZIP[90:], ": ", ["damaged"], {}),
    "not gzip": ("p.tsv.gz", GOOD, ": ", ["the content is not gzip"], {}),
    "cut TMX": ("p.tmx", TMX[:-60], ":33: ", ["ends too early"], {}),
    "cut gzip of TMX": ("p.tmx.gz", gzip.compress(TMX)[:-30], ": ", ["cut off or damaged"], {}),
    # lines and columns
    "columns end half-way": ("p.tsv", GOOD + b"only\n" + GOOD, ":31: ", ["1 came"], {}),
    "columns end in CSV": ("p.csv", CSV + b"only\n", ":32: ", ["2 columns", "1 came"], {}),
    "fields end half-way": ("p.jsonl", JSON + b'{"source": "a"}\n', ":31: ",
                            ["'target' is missing", "The fields are: source"], {}),
    "mixed line ends": ("p.tsv", GOOD + b"a\tb\r\nc\td\re\tf\n", ":32: ",
                        ["carriage return", "LF or CRLF"], {}),
    "old Mac line ends": ("p.csv", CSV.replace(b"\n", b"\r"), ":1: ", ["carriage return"], {}),
    "NUL": ("p.tsv", GOOD + b"a\0b\tc\n", ":31: ", ["NUL"], {}),
    "no such column": ("p.csv", b"word,target\na,b\n", ":1: ", ["'source' is missing"], {}),
    "open quote": ("p.csv", CSV + b'"x,y\nz,z\n', ":32: ", ["Close every quotation mark"], {}),
    "number": ("p.jsonl", JSON + b'{"source": 5, "target": "b"}\n', ":31: ", ["5 came"], {}),
    "not JSON": ("p.jsonl", JSON + b"{'source': 'a'}\n", ":31: ", ["not valid JSON"], {}),
    "half a surrogate pair": ("p.jsonl", b'{"source": "\\ud800", "target": "b"}\n', ":1: ",
                              ["surrogate"], {}),
    # TMX
    "wrong tag": ("p.tmx", TMX.replace(b"</seg>", b"</sge>", 1), ":4: ", ["mismatched tag"], {}),
    "no such language": ("p.tmx", TMX, ":4: ", ["'fr' was expected", "the unit has en, ko"],
                         {"data.source_column": "en", "data.target_column": "fr"}),
    "three languages": ("p.tmx", tmx(*UNITS, [("fr", "x")]).encode(), ":34: ",
                        ["en, ko, fr", "data.source_column and data.target_column"], {}),
    "a language ends half-way": ("p.tmx", tmx(*UNITS, UNITS[0][:1]).encode(), ":34: ",
                                 ["'ko' was expected", "the unit has en"], {}),
    "unknown entity": ("p.tmx", tmx([("en", "a&nbsp;"), ("ko", "b")]).encode(), ":4: ",
                       ["&nbsp;"], {}),
    "external entity": ("p.tmx", EXTERNAL, ":2: ", ["in brackets"], {}),
}  # fmt: skip

# what is small and would be large; name: as above
BOMBS = {
    "one line": ("p.tsv.gz", huge(b"", b"x", b"\n"), ":1: ", ["1000000 characters"], {}),
    "one row": ("p.csv.gz", huge(b'source,target\n"', b'","' + LONG, b""), ":2: ",
                ["longer than 1000000 characters"], {}),
    "one field": ("p.csv.gz", huge(b'source,target\n"', LONG, b""), ":2: ",
                  ["not valid CSV"], {}),
    "JSON in JSON": ("p.jsonl", b'{"source": ' + b"[" * 900_000 + b"\n", ":1: ",
                     ["not valid JSON"], {}),
    "objects in objects": ("p.jsonl", b'{"a":' * 180_000 + b"\n", ":1: ", ["not valid JSON"], {}),
    "a number": ("p.jsonl", b'{"source": ' + b"9" * 900_000 + b"}\n", ":1: ",
                 ["not valid JSON"], {}),
    "many columns": ("p.csv", b"a," * 450_000 + b"\n1,2\n", ":1: ", ["'source' is missing"], {}),
    "many fields": ("p.jsonl", b"{" + b",".join(b'"%d":1' % i for i in range(90_000)) + b"}\n",
                    ":1: ", ["'source' is missing"], {}),
    "billion laughs": ("p.tmx", laughs("lol", 10), ":2: ", ["in brackets"], {}),
    "quadratic blow-up": ("p.tmx", laughs("x" * 50_000, 2, 20_000), ":2: ", ["in brackets"], {}),
    "default attribute": ("p.tmx", tmx(*UNITS, doctype='<!DOCTYPE tmx [<!ATTLIST seg x CDATA "'
                          f'{"y" * 50_000}">]>').encode(), ":2: ", ["in brackets"], {}),
    "tags in tags": ("p.tmx", b"<tmx>" + b"<tu>" * 1_000_000, ":1: ", ["100 deep"], {}),
    "one text": ("p.tmx.gz", huge(BODY + b'<tu><tuv xml:lang="en"><seg>', b"x", b""),
                 ":34: ", ["1000000 characters together"], {}),
    "one attribute": ("p.tmx.gz", huge(b'<tmx a="', b"x", b'"/>'), ":1: ",
                      ["longer than 1000000 bytes"], {}),
    "one comment": ("p.tmx.gz", huge(b"<tmx><!--", b"x", b"--></tmx>"), ":1: ",
                    ["longer than 1000000 bytes"], {}),
    "names": ("p.tmx", b"<tmx>" + b"".join(b"<a%d/>" % i for i in range(100_000)), ":1: ",
              ["10000 names"], {}),
    "texts with texts": ("p.tmx", tmx([("en", "a")] * 2000 + [("ko", "b")] * 2000).encode(),
                         ":4: ", ["2000 x 2000 texts"], {}),
}  # fmt: skip


def parquet_of(content, **options):
    return lambda folder: write_parquet(folder / "p.parquet", content, **options)


def cut_parquet(folder):
    path = write_parquet(folder / "p.parquet", PAIRS)
    path.write_bytes(path.read_bytes()[:-9])
    return path


def changed_parquet(folder):
    path = write_parquet(folder / "p.parquet", PAIRS * 90, compression="none", use_dictionary=False)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + b"\xff" * 900 + content[half + 900 :])
    return path


def cut_arrow(folder):
    path = save_to_disk(folder / "d", PAIRS) / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:-200])
    return folder / "d"


def saved(content, missing="", state=""):
    def make(folder):
        save_to_disk(folder / "d", content, shards=2)
        if missing:
            (folder / "d" / missing).unlink()
        if state:
            (folder / "d" / "state.json").write_text(state, encoding="utf-8")
        return folder / "d"

    return make


def two_parts(folder):
    return save_dict_to_disk(folder / "d", {"train": PAIRS, "test": PAIRS})


def half_a_hub_folder(folder):
    (folder / "d" / "data").mkdir(parents=True)
    write_parquet(folder / "d" / "data" / "train-00000-of-00002.parquet", PAIRS)
    return folder / "d"


def no_hub_folder(folder):
    (folder / "d" / "data").mkdir(parents=True)
    (folder / "d" / "README.md").write_text("nothing yet", encoding="utf-8")
    return folder / "d"


def directory(folder):
    (folder / "p.tsv").mkdir()
    return folder / "p.tsv"


def loop(folder):
    (folder / "p.tsv").symlink_to(folder / "p.tsv")
    return folder / "p.tsv"


def pipe(content, name="p.tsv.gz"):
    def make(folder):
        os.mkfifo(folder / name)
        threading.Thread(target=(folder / name).write_bytes, args=(content,), daemon=True).start()
        return folder / name

    return make


def unreadable(folder):
    if os.geteuid() == 0:
        pytest.skip("the superuser may read every file")
    (folder / "p.tsv").write_bytes(GOOD)
    (folder / "p.tsv").chmod(0)
    return folder / "p.tsv"


def shared_text(folder):
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 3000), ["x" * 1_100_000])
    content = pa.table({"source": shared, "target": ["b"] * 3000})
    return write_parquet(folder / "p.parquet", content, store_schema=False)


NULL = [*PAIRS, ("a", None)]
NUMBERS = pa.table({"source": ["a"], "target": [1]})

# name: (what makes it and gives its name, place after that name, words, settings)
MADE = {
    "directory": (directory, ": ", ["a directory came"], {}),
    "directory as TSV": (directory, ": ", ["a directory came"], {"data.format": "tsv"}),
    "nothing": (lambda folder: folder / "p.tsv", ": ", ["there is no such file"], {}),
    "link to itself": (loop, ": ", ["the link leads to no file"], {}),
    "no permission": (unreadable, ": ", ["Permission denied"], {}),
    "cut gzip from a pipe": (pipe(GZIP[:-20]), ": ", ["cut off or damaged"], {}),
    "Parquet from a pipe": (pipe(b"PAR1", "p.parquet"), ": ", ["pipe or device"], {}),
    "endless zeros": (lambda _: Path("/dev/zero"), ":1: ", ["1000000 characters"],
                      {"data.format": "tsv"}),
    "endless zeros as TMX": (lambda _: Path("/dev/zero"), ":1: ", ["malformed"],
                             {"data.format": "tmx"}),
    "endless zeros as Parquet": (lambda _: Path("/dev/zero"), ": ", ["pipe or device"],
                                 {"data.format": "parquet"}),
    "endless noise": (lambda _: Path("/dev/urandom"), ": ", ["binary file"],
                      {"data.format": "csv"}),
    "cut Parquet": (cut_parquet, ": ", ["Parquet file is cut off or damaged"], {}),
    "changed Parquet": (changed_parquet, ": ", ["Parquet file is cut off or damaged"], {}),
    "Parquet of numbers": (parquet_of(NUMBERS), ": ", ["'target'", "of type int64"], {}),
    "Parquet with a hole": (parquet_of(table(NULL)), ":31: ", ["'target'", "null came"], {}),
    "Parquet without the column": (parquet_of(PAIRS), ": ", ["'ko' is missing"],
                                   {"data.source_column": "ko"}),
    "Parquet without rows": (parquet_of([]), ": ", ["there are none"], {}),
    "one text in every row": (shared_text, ":1: ", ["longer than 1000000 characters"], {}),
    "cut Arrow": (cut_arrow, "/data-00000-of-00001.arrow: ", ["Arrow file is cut off"], {}),
    "dataset with a hole": (saved(table(NULL)), "/data-00001-of-00002.arrow:15: ",
                            ["'target'", "null came"], {}),
    "dataset without the column": (saved(PAIRS), "/data-00000-of-00002.arrow: ",
                                   ["'translation.ko' is missing", "id, source, target"],
                                   {"data.target_column": "translation.ko"}),
    "dataset without a file": (saved(PAIRS, missing="data-00001-of-00002.arrow"),
                               "/data-00001-of-00002.arrow: ", ["there is no such file"], {}),
    "dataset that names others' files": (
        saved(PAIRS, state='{"_data_files": [{"filename": "../../secret"}]}'), "/state.json: ",
        ["'_data_files' should list names"], {}),
    "dataset with a broken state": (saved(PAIRS, state="{"), "/state.json: ",
                                    ["not valid JSON"], {}),
    "dataset of two parts": (two_parts, ": ", ["train, test", "Name one"], {}),
    "half a dataset": (half_a_hub_folder, "/data: ", ["2 files were expected", "1 are"], {}),
    "empty dataset": (no_hub_folder, ": ", ["no state.json", "a directory came"], {}),
}  # fmt: skip


STATUS = Path("/proc/self/status")
"""Where Linux tells a process about itself."""


def peak(anew=False):
    """The most memory that this process had since it was last asked ``anew``, in bytes; None where
    the system does not tell."""
    if not STATUS.exists():
        return None
    if anew:
        (STATUS.parent / "clear_refs").write_text("5", encoding="utf-8")  # proc(5): resets the peak
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"))
    return int(kilobytes) * 1024


@pytest.fixture(scope="module", autouse=True)
def _all_is_loaded(tmp_path_factory):
    """So that importing is not measured."""
    path = tmp_path_factory.mktemp("first") / "p.tsv"
    run_cli("train", path, "--output", path.with_suffix(""))


def refused(path, place, words, settings, skip, folder):
    """A sentence, soon, at little cost; nothing is left behind."""
    before, start = peak(anew=True), time.process_time()
    options = as_options({**SIZES, **settings})
    result = run_cli("train", path, "--output", folder / "run", *options, *skip)
    seconds, after = time.process_time() - start, peak()
    assert result.code == DataError.exit_code == 4, result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    last = result.err.splitlines()[-1]
    assert last.startswith(f"jumok: {path}{place}" if not skip else f"jumok: {path}")
    assert re.search(r"[\w)?]$", last) and len(last) < 1500
    for word in words:
        assert word in result.err
    assert not (folder / "run").exists()
    assert seconds < 20
    assert before is None or after - before < 120_000_000


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not tell the peak of memory")
def test_the_peak_is_that_of_now():
    peaks = []
    for size in (90_000_000, 60_000_000, 1):
        before = peak(anew=True)
        bytearray(size)
        peaks.append(peak() - before)
    assert peaks[0] > 80_000_000 and peaks[1] > 50_000_000 and peaks[2] < 9_000_000


@pytest.mark.parametrize("name", [*FILES, *BOMBS])
def test_broken_file(tmp_path, name):
    file, content, place, words, settings = {**FILES, **BOMBS}[name]
    (tmp_path / file).write_bytes(content(1000) if callable(content) else content)
    refused(tmp_path / file, place, words, settings, [], tmp_path)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_that_is_to_be_skipped(tmp_path, name):
    file, content, _, _, settings = BOMBS[name]
    (tmp_path / file).write_bytes(content(30) if callable(content) else content)
    refused(tmp_path / file, "", [], settings, ["--skip-bad-lines"], tmp_path)


@pytest.mark.parametrize("name", MADE)
def test_broken_thing(tmp_path, name):
    make, place, words, settings = MADE[name]
    path = make(tmp_path)
    refused(path, place, words, settings, [], tmp_path)


def test_formats_are_named_where_a_wrong_one_is_asked_for(tmp_path):
    (tmp_path / "p.tsv").write_bytes(GOOD)
    options = as_options({**SIZES, "data.format": "tmxx"})
    result = run_cli("train", tmp_path / "p.tsv", "--output", tmp_path / "run", *options)
    assert result.code == ConfigError.exit_code
    assert "tmx, parquet, dataset" in result.err
