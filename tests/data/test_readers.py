"""Good files in every format, read against pairs written by hand."""

import csv
import gzip
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumok.config import DataConfig
from jumok.data import Pair, files_of, find_places, read_pairs, read_sources
from jumok.errors import ConfigError, DataError

DATA = Path(__file__).parents[2].parent / "shared" / "data"
PAIRS = [("주목", "attention"), ("a b", 'é, "q"'), ("x\u2028y\u0085z\x0b", "w\x1c\x0cv")]

WRITTEN = {
    "tsv": "".join(f"{s}\t{t}\n" for s, t in PAIRS),
    "csv": "id,source,target\n" + "".join(
        f'{i},"{s}","{t.replace(chr(34), chr(34) * 2)}"\n' for i, (s, t) in enumerate(PAIRS)
    ),
    "jsonl": "".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in PAIRS),
}  # fmt: skip


def read(path, **settings):
    return read_pairs([path], DataConfig(**settings)).pairs


def write(path, content):
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.removesuffix("\n"),
    ],
    ids=["plain", "bom", "crlf", "no-last-end"],
)
def test_every_format_reads_the_same_pairs(tmp_path, form, end, change):
    assert read(write(tmp_path / f"pairs.{form}{end}", change(WRITTEN[form]))) == PAIRS


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "utf-16-le", "utf-8-sig", "euc-kr"])
@pytest.mark.parametrize("form", WRITTEN)
def test_other_encodings(tmp_path, encoding, form):
    text = WRITTEN[form].replace("é", "e").replace("\u2028", "").replace("\u0085", "")
    path = write(tmp_path / f"pairs.{form}", text.encode(encoding))
    assert read(path, encoding=encoding)[0] == ("주목", "attention")
    assert len(read(path, encoding=encoding)) == 3


def test_txt_is_tsv_and_format_overrides_the_name(tmp_path):
    assert read(write(tmp_path / "a.txt", WRITTEN["tsv"])) == PAIRS
    assert read(write(tmp_path / "a.dat", WRITTEN["tsv"]), format="tsv") == PAIRS
    assert read(write(tmp_path / "b.txt", WRITTEN["csv"]), format="csv") == PAIRS


def test_gzip_is_found_by_content(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(gzip.compress(WRITTEN["tsv"].encode()))
    assert read(path) == PAIRS


def test_columns_are_chosen(tmp_path):
    tsv = write(tmp_path / "a.tsv", "1\ten\tko\textra\n")
    assert read(tsv, source_column="3", target_column="2") == [("ko", "en")]
    table = write(tmp_path / "a.csv", "English,한국어\nhello,안녕\n")
    wanted = [("안녕", "hello")]
    assert read(table, source_column="한국어", target_column="English") == wanted
    record = {"translation": {"ko": "안녕", "en": "hello"}, "a.b": "c"}
    lines = write(tmp_path / "a.jsonl", json.dumps(record) + "\n\n")
    assert read(lines, source_column="translation.ko", target_column="translation.en") == wanted
    assert read(lines, source_column="a.b", target_column="translation.en") == [("c", "hello")]


def test_white_space_around_a_text_is_kept(tmp_path):
    assert read(write(tmp_path / "a.tsv", " a \t b\n")) == [(" a ", " b")]


def test_quoted_line_ends_in_csv(tmp_path):
    path = write(
        tmp_path / "a.csv", 'source,target\r\n"two\r\nlines","a,b"\r\n\r\nx,"say ""y"""\r\n'
    )
    assert read(path) == [("two\nlines", "a,b"), ("x", 'say "y"')]


def test_a_csv_row_with_a_bad_line_inside_is_no_pair(tmp_path):
    text = b'\xff,x\n"first\n\xff middle\nlast",ziel\n\xff,x\na,b\n\xff,x\n'
    path = write(tmp_path / "a.csv", b"source,target\n" + text)
    found = read_pairs(path, DataConfig(skip_bad_lines=True))
    assert found.pairs == [("a", "b")]
    assert [error.line for error in found.bad] == [2, 4, 6, 8]


def test_long_csv_fields_are_read(tmp_path):
    path = write(tmp_path / "a.csv", f"source,target\n{'x' * 200_000},y\n")
    assert len(read(path)[0].source) == 200_000


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0\r"))] * 2).filter(
            lambda pair: pair[0].strip() and pair[1].strip()
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_the_csv_and_json_modules_write_is_read_back(tmp_path_factory, pairs):
    folder = tmp_path_factory.getbasetemp()
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("source", "target"), *pairs])
    assert read(write(folder / "law.csv", text.getvalue())) == pairs
    lines = "\n".join(json.dumps({"source": s, "target": t}) for s, t in pairs)
    assert read(write(folder / "law.jsonl", lines)) == pairs


# --- parallel text -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["auto", "parallel"])
def test_two_files_together(tmp_path, form):
    left = write(tmp_path / "a,b.ko.gz", "안녕\n고마워\n")
    right = write(tmp_path / "a,b.en", "hello\r\nthanks")
    assert read(f"{left},{right}", format=form) == [("안녕", "hello"), ("고마워", "thanks")]


def test_which_files_are_read(tmp_path):
    left, right = write(tmp_path / "en,v2.txt", "a\n"), write(tmp_path / "ko.txt", "b\n")
    one = write(tmp_path / "a,b.tsv", "a\tb\n")
    assert files_of(f"{left},{right}") == [left, right]
    assert files_of(one) == files_of(one, "tsv") == [one]
    with pytest.raises(DataError, match="no such file"):
        files_of(f"{left},{tmp_path / 'k.txt'}")
    (tmp_path / "d").mkdir()
    shards = [write(tmp_path / "d" / f"train-{i}-of-2.csv", "source,target\n") for i in range(2)]
    write(tmp_path / "d" / "README.md", "")
    assert files_of(tmp_path / "d") == shards


def test_a_comma_in_the_name_of_one_file(tmp_path):
    assert read(write(tmp_path / "a,b.tsv", "x\ty\n")) == [("x", "y")]


@pytest.mark.parametrize("form", ["auto", "parallel"])
def test_two_names_that_are_too_long_for_one(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    left, right = "가" * 43, "a" * 130
    write(Path(left), "x\n")
    write(Path(right), "y\n")
    assert read(f"{left},{right}", format=form) == [("x", "y")]
    with pytest.raises(DataError, match="no such file"):
        read(f"{left},{right[1:]}", format=form)
    with pytest.raises(DataError, match="cannot be read"):
        read(left + right)


def test_a_tab_is_text_in_parallel_files(tmp_path):
    left, right = write(tmp_path / "a", "x\ty\n"), write(tmp_path / "b", "z\n")
    assert read(f"{left},{right}") == [("x\ty", "z")]


# --- several files, streams, real data -----------------------------------------------------------


def test_several_files_stay_in_order(tmp_path):
    one, two = write(tmp_path / "1.tsv", "a\tb\n"), write(tmp_path / "2.jsonl", WRITTEN["jsonl"])
    assert read_pairs([str(one), two], DataConfig()).pairs == [Pair("a", "b"), *PAIRS]
    assert read_pairs(one, DataConfig()).pairs == [Pair("a", "b")]


def test_sources_of_a_file_and_of_a_stream(tmp_path):
    path = write(tmp_path / "in.txt.gz", "\ufeff안녕\r\na\tb\u2028c\n")
    assert list(read_sources(path, DataConfig())) == ["안녕", "a\tb\u2028c"]
    stream = io.BytesIO("하나\n둘".encode("cp949"))
    assert list(read_sources(stream, DataConfig(encoding="cp949"))) == ["하나", "둘"]
    assert not stream.closed
    assert list(read_sources(io.BytesIO(), DataConfig())) == []


def test_sources_come_one_by_one():
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            buffer[:2] = b"a\n"
            return 2

    texts = read_sources(io.BufferedReader(Endless()), DataConfig())
    assert [next(texts) for _ in range(3)] == ["a", "a", "a"]
    texts.close()


def test_a_bad_source_stops_and_an_empty_one_keeps_its_place():
    texts = read_sources(io.BytesIO(b"a\n\nb\n\xff\nc\n"), DataConfig())
    assert [next(texts) for _ in range(3)] == ["a", "", "b"]
    with pytest.raises(DataError, match=r"input:4: the line is not valid utf-8") as caught:
        next(texts)
    assert "skip_bad_lines" not in str(caught.value)  # a prediction cannot skip


@pytest.mark.parametrize("value", ["0", "-1", "ko", "1.5", "²"])
def test_a_tsv_column_that_is_no_number_is_a_config_error(tmp_path, value):
    with pytest.raises(ConfigError, match=r"data\.source_column must be a column number"):
        read(write(tmp_path / "a.tsv", "a\tb\n"), source_column=value)


@pytest.mark.parametrize("name", ["utf-9", "hex", "", "a\0b"])
def test_an_unknown_encoding_is_a_config_error(tmp_path, name):
    with pytest.raises(ConfigError, match="not a known text encoding"):
        read(write(tmp_path / "a.tsv", "a\tb\n"), encoding=name)
    with pytest.raises(ConfigError, match="not a known text encoding"):
        list(read_sources(io.BytesIO(), DataConfig(encoding=name)))


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("multi30k-en-de/train.tsv.gz", 29_000, "Two young, White males are"),
        ("sigmorphon2020-g2p/kor_train.tsv", 3_600, None),
        ("tanaka-en-ja/train.tsv.gz", 49_000, None),
    ],
)  # fmt: skip
def test_real_files(name, count, first):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there: the shared data sets are not part of the repository")
    pairs = read(path)
    assert len(pairs) == count
    assert first is None or pairs[0].source.startswith(first)


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("p.tsv", "gehen\tging\tV;PST\n", ("", "", "3")),
        ("p.csv", "lemma,form,tags\ngehen,ging,V;PST\n", ("lemma", "form", "tags")),
        (
            "p.jsonl",
            '{"source": "gehen", "target": "ging", "tags": {"all": "V;PST"}}\n',
            ("", "", "tags.all"),
        ),
    ],
)
def test_a_column_of_features_comes_before_the_source(tmp_path, name, text, columns):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    names = ("source_column", "target_column", "features_column")
    config = DataConfig(**dict(zip(names, columns, strict=True)))
    assert read_pairs(path, config).pairs == [Pair("V;PST gehen", "ging")]


def test_features_with_a_space_between_are_a_bad_line(tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text("gehen\tging\tV PST\n", encoding="utf-8")
    with pytest.raises(DataError, match="features without a space between them") as caught:
        read_pairs(path, DataConfig(features_column="3"))
    assert caught.value.line == 1


@pytest.mark.parametrize("between", ["\u3000", "\t", "\u00a0"])
def test_features_end_at_a_space_as_the_tokenizers_see_it(tmp_path, between):
    bad = json.dumps({"source": f"V;PST{between}gehen", "target": "ging"})
    path = write(tmp_path / "p.jsonl", f'{bad}\n{{"source": "\\tV;PST gehen", "target": "b"}}\n')
    with pytest.raises(DataError, match="features, a space and a text") as caught:
        read_pairs(path, DataConfig(), features=True)
    assert caught.value.line == 1
    assert repr(between)[1:-1] in str(caught.value)  # or it would look like a space
    found = read_pairs(path, DataConfig(skip_bad_lines=True), features=True)
    assert found.pairs == [("\tV;PST gehen", "b")]
    assert [error.line for error in found.bad] == [1]


def test_a_parallel_source_without_features_is_told_by_its_own_file(tmp_path):
    for side in "ab":
        (tmp_path / side).write_text("gehen\n", encoding="utf-8")
    with pytest.raises(DataError, match="features, a space and a text") as caught:
        read_pairs(f"{tmp_path / 'a'},{tmp_path / 'b'}", DataConfig(), features=True)
    assert (caught.value.path, caught.value.line) == (tmp_path / "a", 1)


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ("source_column", "name the files in the other order"),
        ("target_column", "name the files in the other order"),
        ("features_column", "put the features before each source"),
    ],
)
def test_parallel_text_has_no_columns(tmp_path, setting, advice):
    for side in "ab":
        (tmp_path / side).write_text("x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"no columns, but data\.{setting}=2 came.*{advice}"):
        read_pairs(f"{tmp_path / 'a'},{tmp_path / 'b'}", DataConfig(**{setting: "2"}))


def test_places_of_pairs_are_found_again(tmp_path):
    words, more, pipe = tmp_path / "words.tsv", tmp_path / "more.jsonl", tmp_path / "pipe"
    words.write_text("a\tx\nb\ty\nbad\na\tx\n" + "c\tz\n" * 20, encoding="utf-8")
    more.write_text(
        '{"source": "b", "target": "y"}\n{"source": "d", "target": "w"}\n', encoding="utf-8"
    )
    os.mkfifo(pipe)  # nobody writes into it: whoever opened it would wait for ever
    config = DataConfig(
        train=[str(words), str(pipe), str(tmp_path / "gone.tsv"), str(more)], skip_bad_lines=True
    )
    asked = {Pair(*two) for two in ("ax", "by", "cz", "nn")}
    assert find_places(asked, config) == {
        Pair("a", "x"): [f"{words}:1", f"{words}:4"],
        Pair("b", "y"): [f"{words}:2", f"{more}:1"],
        Pair("c", "z"): [f"{words}:{line}" for line in range(5, 15)],
        Pair("n", "n"): [],
    }
    # what cannot be read ends with the places before it
    config = DataConfig(train=[str(words), str(more)])
    assert find_places({Pair("a", "x"), Pair("d", "w")}, config) == {
        Pair("a", "x"): [f"{words}:1"],
        Pair("d", "w"): [f"{more}:2"],
    }


def test_places_of_texts_are_found_again(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("one\n\ntwo\none\n", encoding="utf-8")
    found = find_places({Pair("", "one")}, DataConfig(train=[str(texts)]), texts_alone=True)
    assert found == {Pair("", "one"): [f"{texts}:1", f"{texts}:4"]}
