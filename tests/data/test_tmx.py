"""TMX files, read against what the specification says and what other parsers find in them."""

import gzip
import io
import tracemalloc
import xml.etree.ElementTree as ET

import defusedxml.ElementTree
import pytest
from defusedxml import DefusedXmlException
from hypothesis import given
from hypothesis import strategies as st
from written import tmx, write_tmx

from jumok.config import DataConfig
from jumok.data import read_pairs, stream_pairs
from jumok.data.lines import MAX_LINE
from jumok.errors import ConfigError, DataError

PAIRS = [("attention", "주목"), (' "a" & <b>\n', "\u1112\u1161\u11ab\U0001f600 글"), ("x", "한")]
HELLO = [("en", "hello"), ("ko", "안녕")]


def read(path, content=None, **settings):
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_pairs([path], DataConfig(**settings)).pairs


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tmx"


# --- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "us-ascii"])
def test_what_elementtree_writes_is_read_back(path, encoding):
    assert read(write_tmx(path, PAIRS, encoding=encoding)) == PAIRS
    packed = path.with_suffix(".tmx.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(packed) == PAIRS


# the example of TMX 1.4b, "Content Markup", and one of each element named there
INLINE = [
    ('Hello <hi type="bold">big</hi> world', "Hello big world"),
    ('The <bpt i="1" x="1">{\\b </bpt>big<ept i="1">}</ept> one', "The big one"),
    ('a<ph x="1">&lt;img alt="<sub>a picture</sub>"></ph>b', "ab"),
    ('<it pos="begin" x="1">&lt;b></it>c', "c"),
    ("<ut>{\\cf1 </ut>d", "d"),
    ("<hi>e<hi>f</hi><ph>x<sub>y<bpt i='1'>z</bpt></sub></ph>g</hi>", "efg"),
    ("1 &lt; 2 &amp;<!-- a note --> 3<?pi x?>&#x1F600;", "1 < 2 & 3\U0001f600"),
    ("<![CDATA[<b>]]>", "<b>"),
    ("  two\n lines ", "  two\n lines "),
]


@pytest.mark.parametrize(("segment", "text"), INLINE)
def test_code_is_left_out_and_marked_text_is_kept(path, segment, text):
    assert read(path, tmx([("en", segment), ("ko", "가")])) == [(text, "가")]


def test_only_segments_are_text(path):
    unit = (
        '<tu tuid="1" srclang="ko"><note>n</note><prop type="x">p</prop>'
        '<tuv xml:lang="en"><prop type="y">q</prop><seg>a</seg></tuv>'
        '<tuv lang="ko"><seg>가</seg><note>z</note></tuv></tu>'
    )
    assert read(path, tmx().replace("<body>", f"<body>{unit}")) == [("a", "가")]


segments = st.recursive(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=5).map(
        lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "]]&gt;")
    ),
    lambda inner: st.lists(
        st.tuples(st.sampled_from(["bpt", "ept", "it", "ph", "ut", "hi", "sub"]), inner).map(
            lambda pair: f"<{pair[0]}>{pair[1]}</{pair[0]}>t"
        ),
        max_size=3,
    ).map("".join),
    max_leaves=6,
)


def kept(element):
    """The text that is not code, by a tree."""
    inner = "" if element.tag in ("bpt", "ept", "it", "ph", "ut") else element.text or ""
    if element.tag in ("seg", "hi", "sub"):
        inner += "".join(kept(child) + (child.tail or "") for child in element)
    return inner


@given(st.lists(st.tuples(segments, segments), min_size=1, max_size=4))
def test_the_events_find_what_a_tree_holds(tmp_path_factory, segments):
    path = tmp_path_factory.getbasetemp() / "law.tmx"
    units = [[("en", f"s{left}"), ("ko", f"t{right}")] for left, right in segments]
    path.write_text(tmx(*units), encoding="utf-8")
    expected = [
        tuple(kept(variant.find("seg")) for variant in unit.iter("tuv"))
        for unit in ET.parse(path).iter("tu")
    ]
    assert read(path) == expected


# --- languages -----------------------------------------------------------------------------------


def test_the_header_says_which_of_two_languages_is_the_source(path):
    content = tmx(HELLO, [("KO", "네"), ("EN", "yes")])
    assert read(path, content) == [("hello", "안녕"), ("yes", "네")]
    there = [("안녕", "hello"), ("네", "yes")]
    assert read(path, content.replace('srclang="en"', 'srclang="ko"')) == there
    assert read(path, content, source_column="ko") == there
    assert read(path, content, target_column="en") == there
    assert read(path, content, source_column="KO", target_column="En") == there


def test_a_language_is_also_its_kinds(path):
    content = tmx([("en_US", "color"), ("ko-KR", "색"), ("eng", "x")])
    assert read(path, content, source_column="en", target_column="ko") == [("color", "색")]
    content = tmx([("en-US", "color"), ("en-GB", "colour"), ("ko", "색")])
    assert read(path, content, source_column="en-gb", target_column="ko") == [("colour", "색")]
    with pytest.raises(DataError, match=r"'en' was expected, but it could be en-us or en-gb"):
        read(path, content, source_column="en", target_column="ko")
    exact = tmx([("en", "colour"), ("en-US", "color"), ("ko", "색")])
    assert read(path, exact, source_column="en", target_column="ko") == [("colour", "색")]


@pytest.mark.parametrize(
    ("units", "srclang", "words"),
    [
        ([HELLO, [("en", "a"), ("fr", "b")]], "en", "has en, ko, fr.*srclang is 'en'"),
        ([HELLO], "*all*", r"has en, ko.*srclang is '\*all\*'"),
        ([HELLO], "fr", "has en, ko.*srclang is 'fr'"),
        ([[("en-US", "a"), ("en-GB", "b")]], "en", "cannot be told"),
    ],
)
def test_languages_that_cannot_be_told(path, units, srclang, words):
    with pytest.raises(DataError, match=f"{words}.*data.source_column and data.target_column"):
        read(path, tmx(*units, srclang=srclang), skip_bad_lines=True)


def test_one_language_is_not_two(path):
    with pytest.raises(ConfigError, match="would both be column en"):
        read(path, tmx(HELLO), source_column="en", target_column="EN")
    with pytest.raises(ConfigError, match="would both be column en-us"):
        read(path, tmx([("en-US", "a")]), source_column="en", target_column="en-US")


def test_several_texts_of_a_language_are_several_pairs(path):
    content = tmx([("en", "hi"), ("ko", "안녕"), ("en", "hello"), ("ko", "여보세요")])
    expected = [(s, t) for s in ("hi", "hello") for t in ("안녕", "여보세요")]
    assert read(path, content) == expected


def test_features_come_before_the_source(path):
    content = tmx([("en", "V;PST gehen"), ("ko", "ging")], [("en", "gehen"), ("ko", "geht")])
    path.write_text(content, encoding="utf-8")
    config = DataConfig(skip_bad_lines=True)
    found = read_pairs([path], config, features=True)
    assert found.pairs == [("V;PST gehen", "ging")]
    assert found.bad[0].line == 5 and "features, a space and a text" in str(found.bad[0])
    with pytest.raises(ConfigError, match="TMX has no columns"):
        read(path, features_column="3")


# --- what is bad in a good file ------------------------------------------------------------------

# name: (units, words); the second unit is bad, on line 5
BAD = {
    "language": ([("en", "a")], ["'ko' was expected", "the unit has en", "data.target_column"]),
    "none": ([], ["'en' was expected", "the unit has none"]),
    "no code": ([("en", "a"), ("", "b")], ["xml:lang", "Add it"]),
    "empty": ([("en", "a"), ("ko", " <ph>code</ph>")], ["the target is empty"]),
    "entity": ([("en", "a&nbsp;b"), ("ko", "나")], ["'&nbsp;'", "Write the character"]),
    "long": ([("en", "a" * 600_000), ("ko", "b" * 400_001)], ["1000000 characters together"]),
    "endless": ([("en", "a" * 3_000_000), ("ko", "b")], ["1000000 characters together"]),
    "many": ([("en", "a")] * 40 + [("ko", "b")] * 26, ["40 x 26 texts", "Divide"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_unit_has_its_line_and_can_be_skipped(path, name):
    unit, words = BAD[name]
    content = tmx(HELLO, unit, HELLO)
    with pytest.raises(DataError) as caught:
        read(path, content)
    assert (caught.value.path, caught.value.line) == (path, 5)
    found = read_pairs([path], DataConfig(skip_bad_lines=True))
    assert found.pairs == [("hello", "안녕")] * 2
    assert [error.line for error in found.bad] == [5]
    for word in [*words, "skip_bad_lines"]:
        assert word in str(caught.value)


def test_an_entity_in_code_or_a_note_is_no_loss(path):
    content = tmx([("en", "a<ph>&nbsp;</ph>"), ("ko", "b")])
    assert read(path, content.replace("<tu>", "<tu><note>&eacute;</note>")) == [("a", "b")]


# --- what is bad about a file --------------------------------------------------------------------


def bomb(declarations, text):
    return tmx([("en", text), ("ko", "b")], doctype=f"<!DOCTYPE tmx [{declarations}]>")


LAUGHS = '<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMBS = {
    "billion laughs": bomb(LAUGHS, "&i;"),
    "quadratic": bomb(f'<!ENTITY a "{"x" * 50_000}">', "&a;" * 50_000),
    "external": bomb('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;"),
    "remote": bomb('<!ENTITY a PUBLIC "x" "http://localhost/x">', "&a;"),
    "parameter": bomb('<!ENTITY % a SYSTEM "http://localhost/x.dtd"> %a;', "b"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_entities_are_refused_as_defusedxml_refuses_them(path, name):
    with pytest.raises(DefusedXmlException):
        defusedxml.ElementTree.fromstring(BOMBS[name])
    with pytest.raises(DataError, match="the DOCTYPE declares something in brackets") as caught:
        read(path, BOMBS[name], skip_bad_lines=True)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "doctype",
    ["", '<!DOCTYPE tmx SYSTEM "http://localhost/tmx14.dtd">', '<!DOCTYPE tmx PUBLIC "-//" "x">'],
)
def test_a_doctype_that_only_names_its_dtd_is_fine(path, doctype):
    content = tmx(HELLO, doctype=doctype)
    assert len(defusedxml.ElementTree.fromstring(content).findall("body/tu")) == 1
    assert read(path, content) == [("hello", "안녕")]


WHOLE = tmx(HELLO)
FILES = {
    "empty": ("", 1, ["ends too early"]),
    "cut": (WHOLE[:-20], 4, ["ends too early", "again"]),
    "cut in a tag": (tmx(HELLO, HELLO)[:-40], 5, ["ends too early"]),
    "tag": (WHOLE.replace("</seg>", "</sge>", 1), 4, ["malformed (mismatched tag)"]),
    "two": (WHOLE + WHOLE, 6, ["malformed"]),
    "text": ("hello\thallo\n", 1, ["malformed"]),
    "zip": (b"PK\3\4\x14\0\6\0\x08\0\0\0!\0\xdf\xff", 1, ["malformed"]),
    "html": ("<html><body/></html>", 1, ["<tmx> was expected, but <html> came"]),
    "cp949": (WHOLE.encode("cp949"), 4, ["data.encoding=cp949"]),
    "euc-kr": (
        WHOLE.replace("?>", ' encoding="euc-kr"?>').encode("euc-kr"), 1, ["data.encoding=euc-kr"]
    ),
    "nonsense": (WHOLE.replace("?>", ' encoding="klingon"?>'), 1, ["'klingon'", "as UTF-8"]),
    "deep": ("<tmx>" + "<a>" * 1_000_000, 1, ["100 deep"]),
    "attribute": (f'<tmx a="{"x" * 3_000_000}"/>', 1, ["longer than 1000000 bytes"]),
    "comment": (f"<tmx>\n<!--{'x' * 3_000_000}--></tmx>", 2, ["longer than 1000000 bytes"]),
    "names": ("<tmx>" + "".join(f"<a{i}/>" for i in range(30_000)), 1, ["10000 names"]),
    "nothing": (tmx(), None, ["there are none"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_always_stops(path, name):
    content, line, words = FILES[name]
    with pytest.raises(DataError) as caught:
        read(path, content, skip_bad_lines=True)
    assert (caught.value.path, caught.value.line) == (path, line)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "shift_jis"])
def test_another_encoding_counts_more_than_what_the_file_says(path, encoding):
    content = tmx([("en", "hello"), ("ja", "すし")]).replace("?>", ' encoding="euc-jp"?>')
    assert read(path, content.encode(encoding), encoding=encoding) == [("hello", "すし")]


@pytest.mark.parametrize("content", [WHOLE.encode("cp949"), WHOLE.encode() + b"\xff"])
def test_what_is_not_in_the_encoding_set(path, content):
    with pytest.raises(DataError, match=r"not valid utf-32 .* Set data\.encoding"):
        read(path, content, encoding="utf-32")
    with pytest.raises(ConfigError, match="no-such is not a known text encoding"):
        read(path, content, encoding="no-such")


def test_pairs_before_the_end_of_a_cut_file_are_answered(path):
    path.write_text(tmx(HELLO, HELLO)[:-40], encoding="utf-8")
    pairs = stream_pairs(path, DataConfig())
    assert next(pairs) == ("hello", "안녕")
    with pytest.raises(DataError):
        next(pairs)


def test_a_stream(path):
    stream = io.BytesIO(tmx(HELLO).encode())
    assert list(stream_pairs(stream, DataConfig(format="tmx"))) == [("hello", "안녕")]


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "length"), [(500, 40_000), (1, 30 * MAX_LINE)])
def test_memory_stays_flat(tmp_path, count, length):
    path = tmp_path / "a.tmx.gz"
    units = [[("en", "x" * length), ("ko", "y")]] * count
    path.write_bytes(gzip.compress(tmx(HELLO, *units).encode(), compresslevel=1))
    tracemalloc.start()
    found = sum(1 for _ in stream_pairs(path, DataConfig(skip_bad_lines=True)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == 1 + count
    assert peak < 6 * MAX_LINE
