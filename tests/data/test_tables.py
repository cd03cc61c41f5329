"""Parquet files and dataset directories, written by pyarrow."""

import gzip
import io
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import save_dict_to_disk, save_to_disk, table, write_parquet, write_tmx

from jumok.config import DataConfig
from jumok.data import read_pairs, read_texts, stream_pairs
from jumok.data.lines import Progress
from jumok.data.readers import stream_rows
from jumok.errors import ConfigError, DataError, MissingExtra

PAIRS = [("주목", "attention"), (" a\tb\n", 'é, "q" & <b>'), ("\u1112\u1161\u11ab", "\U0001f600")]
MANY = [(f"문장 {i}", f"sentence {i % 7}") for i in range(300)]
TRANSLATION = pa.table({"translation": [{"en": t, "ko": s} for s, t in PAIRS], "a.b": ["x"] * 3})


def read(path, **settings):
    return read_pairs([path], DataConfig(**settings)).pairs


# --- what is written is read back ----------------------------------------------------------------

letters = st.characters(
    codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"
)
texts = st.one_of(
    st.text(letters, min_size=1),
    st.text("가각힣\u1112\u1161\u11ab\"'&<>]\U0001f600\U00020000 \u2028", min_size=1),
).filter(str.strip)  # fmt: skip


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_three_formats_read_back_what_others_write(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("law")
    assert read(write_tmx(folder / "a.tmx", pairs)) == pairs
    assert read(write_parquet(folder / "a.parquet", pairs)) == pairs
    assert read(save_to_disk(folder / "a", pairs)) == pairs
    parts = save_dict_to_disk(folder / "b", {"train": table(pairs), "test": table(pairs)})
    assert read(parts / "test") == pairs


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_kinds_of_text_and_row_groups(tmp_path, compression, kind):
    content = table(MANY, kind=kind)
    options = {"row_group_size": 70, "compression": compression}
    path = write_parquet(tmp_path / "a.parquet", content, **options)
    assert read(path) == MANY
    assert read(path.rename(tmp_path / "a.bin"), format="parquet") == MANY


def test_a_table_counts_as_read_when_it_was(tmp_path):
    for path in (write_parquet(tmp_path / "a.parquet", MANY), save_to_disk(tmp_path / "a", MANY)):
        progress = Progress(2)
        rows = stream_rows(path, DataConfig(), watch=progress.watch)
        assert next(rows).line == 1
        assert progress.share() == 0
        assert len(list(rows)) == len(MANY) - 1
        assert progress.share() == 0.5


def test_a_dictionary_of_texts_is_text(tmp_path):
    content = pa.table({"source": ["a", "b", "a"], "target": pa.array(["x"] * 3)})
    content = content.set_column(0, "source", content["source"].dictionary_encode())
    expected = [("a", "x"), ("b", "x"), ("a", "x")]
    assert read(write_parquet(tmp_path / "a.parquet", content)) == expected
    assert read(save_to_disk(tmp_path / "d", content)) == expected


def test_columns_are_chosen(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", TRANSLATION)
    folder = save_to_disk(tmp_path / "d", TRANSLATION)
    chosen = {"source_column": "translation.ko", "target_column": "translation.en"}
    assert read(path, **chosen) == read(folder, **chosen) == PAIRS
    chosen["target_column"] = "a.b"
    assert read(path, **chosen) == read(folder, **chosen) == [(s, "x") for s, _ in PAIRS]


def test_features_have_a_column_or_are_the_first_word(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, pa.table({"source": ["gehen"], "target": ["ging"], "tags": ["V;PST"]}))
    assert read(path, features_column="tags") == [("V;PST gehen", "ging")]
    with pytest.raises(DataError, match="features, a space and a text"):
        read_pairs([path], DataConfig(), features=True)


# --- bad rows ------------------------------------------------------------------------------------

ROWS = {
    "null": (None, ["should hold text, but null came"]),
    "empty": (" ", ["the source is empty"]),
    "NUL": ("a\0b", ["NUL"]),
    "long": ("x" * 1_000_001, ["longer than 1000000 characters"]),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_has_its_number_and_can_be_skipped(tmp_path, name):
    value, words = ROWS[name]
    content = table([*MANY[:99], (value, "t"), *MANY[99:]])
    for path in (
        write_parquet(tmp_path / "a.parquet", content),
        save_to_disk(tmp_path / "d", content),
    ):
        with pytest.raises(DataError) as caught:
            read(path)
        assert caught.value.line == 100
        assert str(path) in str(caught.value)
        for word in [*words, "skip_bad_lines"]:
            assert word in str(caught.value)
        found = read_pairs([path], DataConfig(skip_bad_lines=True))
        assert found.pairs == MANY and len(found.bad) == 1


def test_a_missing_structure_is_a_missing_text(tmp_path):
    content = pa.table({"t": [{"en": "a", "ko": "b"}, None]})
    path = write_parquet(tmp_path / "a.parquet", content)
    with pytest.raises(DataError, match=r":2: field 't\.en' should hold text, but null came"):
        read(path, source_column="t.en", target_column="t.ko")


# --- bad files -----------------------------------------------------------------------------------

COLUMNS = [
    ({"Source": ["a"], "target": ["b"]}, {}, "'source' is missing. Did you mean 'Source'"),
    ({"source": [1], "target": ["b"]}, {}, "should hold text, but it is of type int64"),
    ({"source": [b"a"], "target": ["b"]}, {}, "of type binary"),
    ({"source": [["a"]], "target": ["b"]}, {}, "of type list<"),
    ({"source": [None], "target": ["b"]}, {}, "of type null"),
    ({"t": [{"en": "a", "ko": "b"}]}, {"source_column": "t", "target_column": "t.en"},
     "'t' is missing. The columns are: t.en, t.ko. Set data.source_column"),
    ({"t": [{"en": 1.5}], "a": ["b"]}, {"source_column": "a", "target_column": "t.en"},
     "'t.en' should hold text, but it is of type double. Set data.target_column"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "chosen", "words"), COLUMNS)
def test_columns_that_cannot_be_used(tmp_path, content, chosen, words):
    for path in (
        write_parquet(tmp_path / "a.parquet", pa.table(content)),
        save_to_disk(tmp_path / "d", pa.table(content)),
    ):
        with pytest.raises(DataError) as caught:
            read(path, skip_bad_lines=True, **chosen)
        assert words in str(caught.value)


@pytest.mark.parametrize("wrap", [False, True])
def test_a_structure_that_comes_twice(tmp_path, wrap):
    sides = [pa.array([{name: "x"}]) for name in ("source", "target")]
    content = pa.Table.from_arrays(sides, ["t", "t"])
    if wrap:
        content = pa.table({"w": pa.StructArray.from_arrays(sides, ["t", "t"])})
    columns = {f"{side}_column": f"{'w.' * wrap}t.{side}" for side in ("source", "target")}
    for path in (
        write_parquet(tmp_path / "a.parquet", content),
        save_to_disk(tmp_path / "d", content),
    ):
        with pytest.raises(DataError, match="'t' comes twice"):
            read(path, **columns)


def test_a_column_that_comes_twice(tmp_path):
    content = pa.Table.from_arrays([pa.array(["a"])] * 3, ["source", "source", "target"])
    with pytest.raises(DataError, match="'source' comes twice"):
        read(save_to_disk(tmp_path / "d", content))
    with pytest.raises(ConfigError, match="would both be column a"):
        read(tmp_path / "d", source_column="a", target_column="a")


def broken(content):
    """Every way a file is cut, and some ways it is changed."""
    yield from (content[:n] for n in range(0, len(content), max(1, len(content) // 40)))
    for place in range(3, len(content), max(1, len(content) // 60)):
        yield content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["a.parquet", "d"])
def test_a_damaged_file_is_never_half_read_nor_a_crash(tmp_path, name):
    path = tmp_path / name
    if name == "d":
        file = save_to_disk(path, MANY, rows=50) / "data-00000-of-00001.arrow"
    else:
        file = write_parquet(path, MANY, row_group_size=50)
    whole = file.read_bytes()
    for number, content in enumerate(broken(whole)):
        file.write_bytes(content)
        try:
            pairs = read(path)
        except DataError as error:
            assert str(file) in str(error) or str(path) in str(error)
        else:  # what was changed was no text, or one letter for another
            assert len(content) == len(whole), number
            assert len(pairs) == len(MANY)


def test_checksums_are_looked_at(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", MANY, write_page_checksum=True)
    assert read(path) == MANY
    content = write_parquet(path, MANY, write_page_checksum=True, compression="none").read_bytes()
    path.write_bytes(content.replace(b"sentence 3", b"sentence 9"))
    with pytest.raises(DataError, match=r"damaged .*CRC"):
        read(path)


def test_text_that_is_not_utf_8(tmp_path):
    raw = pa.array([b"a", "안녕".encode("cp949")])
    content = pa.table({"source": pa.Array.from_buffers(pa.string(), 2, raw.buffers()),
                        "target": ["x", "y"]})  # fmt: skip
    for path in (
        write_parquet(tmp_path / "a.parquet", content),
        save_to_disk(tmp_path / "d", content),
    ):
        with pytest.raises(DataError, match=r"damaged .*UTF8"):
            read(path)


def test_a_text_that_many_rows_share_is_not_spread_out(tmp_path):
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 500), ["x" * 900_000])
    content = pa.table({"source": shared, "target": ["b"] * 500})
    path = write_parquet(tmp_path / "a.parquet", content, store_schema=False)
    assert path.stat().st_size < 100_000
    before = pa.default_memory_pool().max_memory()
    assert sum(len(pair.source) for pair in stream_pairs(path, DataConfig())) == 500 * 900_000
    assert pa.default_memory_pool().max_memory() < before + 250_000_000


@pytest.mark.parametrize("name", ["a.parquet", "d/data-00000-of-00001.arrow"])
def test_a_pointer_of_git_lfs(tmp_path, name):
    save_to_disk(tmp_path / "d", PAIRS)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (tmp_path / name).write_text(pointer, encoding="utf-8")
    with pytest.raises(DataError, match="git lfs pull"):
        read(tmp_path / name.split("/")[0])


def test_what_stands_in_no_stream(tmp_path):
    for form, words in (("parquet", "a file on disk"), ("dataset", "a directory")):
        with pytest.raises(DataError, match=f"data.format={form} needs {words}, but a stream"):
            list(stream_pairs(io.BytesIO(b"a\tb\n"), DataConfig(format=form)))
    (tmp_path / "a.tsv").write_text("a\tb\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.format=dataset needs a directory"):
        read(tmp_path / "a.tsv", format="dataset")


@pytest.mark.parametrize(
    "name", ["a.tmx", "a.parquet", "d", "a.csv", "a.csv.gz", "a.JSONL", "a.jsonl.gz"]
)
def test_a_language_model_reads_no_pairs(tmp_path, name):
    for other in ("a.csv", "a.csv.gz", "a.JSONL", "a.jsonl.gz"):
        packed = gzip.compress if other.endswith("gz") else bytes
        (tmp_path / other).write_bytes(packed(b"source,target\na,b\n"))
    write_tmx(tmp_path / "a.tmx", PAIRS)
    write_parquet(tmp_path / "a.parquet", PAIRS)
    save_to_disk(tmp_path / "d", PAIRS)
    with pytest.raises(DataError, match=r"reads texts, one a line|a directory came"):
        read_texts([tmp_path / name], DataConfig())


def test_without_pyarrow(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet", PAIRS)
    folder = save_to_disk(tmp_path / "d", PAIRS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in (path, folder):
        with pytest.raises(MissingExtra, match=r"pip install 'jumok\[parquet\]'"):
            read(name)


# --- directories ---------------------------------------------------------------------------------


def test_shards_stay_in_order(tmp_path):
    assert read(save_to_disk(tmp_path / "d", MANY, shards=12, rows=7)) == MANY
    assert read(tmp_path / "d", format="dataset") == MANY


def test_a_dictionary_of_one_part_is_that_part_and_of_several_none(tmp_path):
    assert read(save_dict_to_disk(tmp_path / "one", {"train": PAIRS})) == PAIRS
    folder = save_dict_to_disk(tmp_path / "two", {"train": PAIRS, "test": MANY})
    words = f"directory has train, test. Name one, as in {folder / 'train'}"
    with pytest.raises(DataError) as caught:
        read(folder)
    assert words in str(caught.value)


LINES = {
    ".csv": "source,target\na,b\n",
    ".jsonl": '{"source": "a", "target": "b"}\n',
}


@pytest.mark.parametrize("form", [".parquet", *LINES])
@pytest.mark.parametrize("inner", ["", "data"])
@pytest.mark.parametrize("names", [["train"], [f"train-{i}-of-11" for i in range(11)]])
def test_a_folder_as_on_the_hub(tmp_path, form, inner, names):
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)
    (tmp_path / "README.md").write_text("# a data set", encoding="utf-8")
    for number, name in enumerate(names):
        if form in LINES:
            content = LINES[form].replace("b", str(number))
            (folder / f"{name}{form}").write_text(content, encoding="utf-8")
        else:
            write_parquet(folder / f"{name}{form}", [("a", str(number))])
    expected = [("a", str(number)) for number in range(len(names))]
    assert sorted(read(tmp_path)) == sorted(expected)
    assert read(tmp_path) == expected


def test_a_folder_of_several_parts_or_not_all_files(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write_parquet(tmp_path / f"{name}.parquet", PAIRS)
    with pytest.raises(DataError, match=r"has test\*\.parquet, train\*\.parquet\. Name one"):
        read(tmp_path)
    assert read_pairs(sorted(tmp_path.glob("train*")), DataConfig()).pairs == PAIRS * 2
    (tmp_path / "test-00000-of-00001.parquet").unlink()
    (tmp_path / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="2 files were expected, as their names say, but 1 are"):
        read(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("train-0-of-2.csv", "train-0-of-2.csv.gz"),
        ("train.csv", "train.csv.gz"),
        ("train-0-of-1-0123456789abcdef.csv", "train-0-of-1.csv"),
    ],
)
def test_one_file_in_two_forms_is_not_two_files(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text(LINES[".csv"], encoding="utf-8")
    with pytest.raises(DataError, match="each file was expected once") as caught:
        read(tmp_path)
    assert " and ".join(sorted(names)) in str(caught.value)


def test_old_and_odd_names_of_the_hub(tmp_path):
    for i in range(2):
        name = f"train-0000{i}-of-00002-a09b74b3ef9c3b5{i}.parquet"
        write_parquet(tmp_path / name, [("a", str(i))])
    assert read(tmp_path) == [("a", "0"), ("a", "1")]
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "Train.CSV").write_text(LINES[".csv"], encoding="utf-8")
    assert read(tmp_path / "odd") == [("a", "b")]


def test_packed_parquet_is_refused(tmp_path):
    path = write_parquet(tmp_path / "train.parquet", PAIRS).rename(tmp_path / "train.parquet.gz")
    for name in (tmp_path, path):
        with pytest.raises(DataError, match=r"train\.parquet\.gz: .* Unpack it: gunzip"):
            read(name)


def state(folder, **changes):
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


STATES = [
    ({"_data_files": None}, "'_data_files' should list names"),
    ({"_data_files": []}, r"'_data_files' should list names .* but \[\] came"),
    ({"_data_files": [{"filename": "../x.arrow"}]}, "should list names"),
    ({"_data_files": [{"filename": 5}]}, "should list names"),
    ({"_data_files": [{"filename": "data-00000-of-00002.arrow"}]}, "no such file. Did you mean"),
    ({"_indices_data_files": [{"filename": "indices.arrow"}]}, "flatten_indices"),
]


@pytest.mark.parametrize(("changes", "words"), STATES)
def test_a_saved_dataset_that_is_not_whole(tmp_path, changes, words):
    folder = save_to_disk(tmp_path / "d", PAIRS)
    state(folder, **changes)
    with pytest.raises(DataError, match=words):
        read(folder)


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "[]", '"x"', "\0"])
def test_a_state_that_is_no_json(tmp_path, content):
    folder = save_to_disk(tmp_path / "d", PAIRS)
    (folder / "state.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"state\.json: "):
        read(folder)


def test_a_table_without_rows(tmp_path):
    for path in (
        write_parquet(tmp_path / "a.parquet", table([])),
        save_to_disk(tmp_path / "d", table([])),
    ):
        with pytest.raises(DataError, match="there are none"):
            read(path)
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 0
