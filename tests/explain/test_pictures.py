"""SVG, HTML, PNG and files: well-formed, complete, escaped, and asking nothing of the network."""

from __future__ import annotations

import re
import sys
import unicodedata
import warnings
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from jumok.errors import ConfigError, MissingExtra, StorageError
from jumok.explain import AttentionMap, fonts, render_fragment, render_html, render_svg, write
from jumok.explain.palette import DARK, LEVELS, LIGHT, colour, ink_on, level

SVG = "{http://www.w3.org/2000/svg}"
EVIL = ["<script>alert(1)</script>", "\"'&", "]]>", "\x1b\x00", "\ufffe", "$x_", "a\u202eb"]


def a_map(source=("j", "u"), target=("ㅈ", "ㅜ", "</s>"), **fields) -> AttentionMap:
    weights = np.random.default_rng(0).dirichlet(np.ones(len(source)), size=len(target))
    return AttentionMap(list(source), list(target), weights, **fields)


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that elements close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)


def test_svg_is_xml_with_a_cell_per_weight_and_all_tokens():
    attention = a_map(token_log_probs=[-0.1, -0.2, -3.0])
    root = ElementTree.fromstring(render_svg(attention))
    cells = [r for r in root.iter(f"{SVG}rect") if "cell" in r.get("class", "")]
    assert len(cells) == 2 * 3
    tips = [title.text for title in root.iter(f"{SVG}title")]
    assert tips[0].startswith("ㅈ ← j ")
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for label in ("j", "u", "ㅈ", "ㅜ", "∎", "90%", "82%", "5%", "source 원문", "output 출력"):
        assert label in texts


def test_svg_colours_every_class_it_uses():
    svg = render_svg(a_map())
    used = set(re.findall(r'class="(?:cell )?(l\d+)"', svg))
    assert used <= set(re.findall(r"\.(l\d+)\{fill:#[0-9a-f]{6}\}", svg))


def test_svg_cells_lie_inside_the_drawing_and_do_not_overlap():
    root = ElementTree.fromstring(render_svg(a_map(["Bundesverfassungsgericht", "b"], "xyz")))
    _, _, width, height = map(float, root.get("viewBox").split())
    corners = set()
    for rect in (r for r in root.iter(f"{SVG}rect") if "cell" in r.get("class", "")):
        x, y, side = (float(rect.get(name)) for name in ("x", "y", "width"))
        assert 0 <= x <= width - side
        assert 0 <= y <= height - side
        corners.add((x // (side + 2), y // (side + 2)))
    assert len(corners) == 6


def test_a_large_map_has_a_path_per_row_and_shade_and_no_tooltips():
    attention = a_map("ab" * 60, "xyz" * 30)
    root = ElementTree.fromstring(render_svg(attention))
    assert not list(root.iter(f"{SVG}title"))
    rows = [group for group in root.iter(f"{SVG}g") if group.get("class") == "row"]
    assert len(rows) == 90
    lefts, tops = set(), []
    for row, weights in zip(rows, attention.weights, strict=True):
        shades = {}
        for path in row.iter(f"{SVG}path"):
            cells = re.findall(r"M([\d.]+) ([\d.]+)h14v14h-14z", path.get("d"))
            assert "".join(f"M{x} {y}h14v14h-14z" for x, y in cells) == path.get("d")
            shades |= dict.fromkeys(cells, path.get("class"))
        in_order = sorted(shades, key=lambda place: float(place[0]))
        assert [shades[place] for place in in_order] == [f"l{level(w)}" for w in weights]
        lefts.add(tuple(float(x) for x, _ in in_order))
        tops += {float(y) for _, y in in_order}
    assert len(lefts) == 1  # every row has its cells in the same places
    for places in (lefts.pop(), tops):
        assert {round(b - a, 3) for a, b in pairwise(places)} == {16.0}


def test_the_labels_of_a_long_text_are_made_once(monkeypatch):
    made = []
    monkeypatch.setattr(
        "jumok.explain.attention_map.labels", lambda tokens: made.append(1) or list(tokens)
    )
    render_svg(a_map("ab", "xyz"))
    few = len(made)
    render_svg(a_map("ab", "xyz" * 20))
    assert len(made) == 2 * few


def test_hostile_tokens_are_text_everywhere():
    attention = a_map(EVIL, EVIL, source_text=EVIL[0], target_text=EVIL[1])
    svg = render_svg(attention)
    assert "<script" not in svg
    assert EVIL[0] in [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    for page in (render_html(attention), render_fragment(attention)):
        reader = Reader(page)
        assert [tag for tag, _ in reader.tags].count("script") == 1
        assert EVIL[0] in reader.text
        assert EVIL[1] in reader.text
        assert not [name for _, attrs in reader.tags for name in attrs if name.startswith("on")]
        assert not {"\x1b", "\x00", "\u202e", "\ufffe"} & set(page)


def test_texts_from_the_right_turn_no_arrow():
    """An arrow stands outside what Unicode's bidirectional rules order (Standard Annex 9)."""
    source, target = "שלום", "مرحبا"
    attention = a_map(source, target, source_text=source, target_text=target)
    page = render_html(attention)
    assert f"<title>\u2068{source}\u2069 → \u2068{target}\u2069</title>" in page
    assert f"<bdi>{source}</bdi>" in page
    assert f'<b dir="auto">{target}</b>' in page
    tips = [t.text for t in ElementTree.fromstring(render_svg(attention)).iter(f"{SVG}title")]
    assert tips[0].startswith(f"\u2068{target[0]}\u2069 ← \u2068{source[0]}\u2069  ")


def test_a_long_text_without_spaces_is_broken_into_lines():
    long = "j" * 160
    page = render_html(a_map(source_text=long, target_text=long))
    assert re.search(r"\.jumok h1 \{[^}]*overflow-wrap: anywhere", page)


def test_html_is_one_file_that_asks_nothing():
    page = render_html(a_map(source_text="jumok", target_text="주목"))
    reader = Reader(page)
    assert not reader.open
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>jumok → 주목</title>" in page
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    links = [a for _, attrs in reader.tags for a in attrs if a in ("src", "href", "srcset")]
    assert not links
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)


def test_html_tokens_carry_their_weights_and_probabilities():
    weights = np.array([[0.93, 0.07], [0.004, 0.996]])
    attention = AttentionMap(["j", "u"], ["ㅈ", "ㅜ"], weights, token_log_probs=[-0.1, -1.0])
    reader = Reader(render_html(attention))
    rows = [attrs["data-weights"] for _, attrs in reader.tags if "data-weights" in attrs]
    assert rows == ["93 7", "0 100"]
    assert reader.text.count("37%") == 2  # under the token and beside the map


def test_html_says_what_its_colours_show():
    weights = np.array([[0.93, 0.07, 0.0], [0.004, 0.996, 0.0], [0.0, 0.0, 0.0]])
    attention = AttentionMap(
        ["j", " ", "</s>"], ["ㅈ", '"', "</s>"], weights, token_log_probs=[-0.1] * 3
    )
    buttons = [attrs for tag, attrs in Reader(render_html(attention)).tags if tag == "button"]
    assert [button["aria-label"] for button in buttons] == [
        "j, most looked at by ㅈ, 93%",
        'space, most looked at by ", 100%',
        "end",
        "ㅈ, 90%, looks most at j, 93%",
        '", 90%, looks most at space, 100%',
        "end, 90%",
    ]
    assert [button.get("lang") for button in buttons] == [None, None, None, "ko", None, None]


def test_html_says_which_of_its_words_are_korean():
    page = render_html(a_map(source_text="jumok", target_text="주목"))
    assert '<html lang="en">' in page
    body = page[page.index("</style>\n<h1>") : page.index("<svg")]
    korean = re.findall(r'lang="ko"[^>]*>([^<]+)', body)
    assert korean == ["주목", "원문", "출력", "ㅈ", "ㅜ"]
    assert not re.search(r"[ㄱ-힣]", re.sub(r'lang="ko"[^>]*>[^<]+|aria-label="[^"]*"', "", body))


def test_fragment_is_confined_to_its_class():
    fragment = render_fragment(a_map())
    assert "<html" not in fragment
    style = fragment[fragment.index("<style>") + 7 : fragment.index("</style>")]
    selectors = [part for rule in re.findall(r"([^{}]+)\{", style) for part in rule.split(",")]
    assert all(s.strip().startswith((".jumok", "@media")) for s in selectors)


def test_maps_without_tokens_can_be_drawn():
    for shape in ((0, 0), (0, 2), (2, 0)):
        attention = AttentionMap(["a"] * shape[1], ["b"] * shape[0], np.zeros(shape))
        ElementTree.fromstring(render_svg(attention))
        Reader(render_html(attention))


def test_the_scale_is_in_order_in_grey_and_its_text_can_be_read():
    def luminance(rgb):  # WCAG 2.2
        shares = [channel / 255 for channel in rgb]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for stops, direction in ((LIGHT, -1), (DARK, 1)):
        shades = [colour(k / LEVELS, stops) for k in range(LEVELS + 1)]
        light = [luminance(s) for s in shades]
        assert light == sorted(light, reverse=direction < 0)
        for shade in shades:
            high, low = sorted((luminance(shade), luminance(ink_on(shade))), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5
    assert (level(0.0), level(0.5), level(1.0)) == (0, 25, 50)


@pytest.mark.parametrize("suffix", [".svg", ".html", ".json", ".SVG"])
def test_write_goes_by_the_suffix(tmp_path, suffix):
    write(a_map(["\ud800", "u"]), tmp_path / f"map{suffix}")
    starts = {".svg": "<svg", ".html": "<!DOCTYPE", ".json": "{"}
    text = (tmp_path / f"map{suffix}").read_text(encoding="utf-8")
    assert text.startswith(starts[suffix.lower()])


def test_write_refuses_with_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"\.svg, \.html, \.png, \.json, but 'map\.gif' came"):
        write(a_map(), tmp_path / "map.gif")
    with pytest.raises(StorageError, match=r"missing/map\.svg"):
        write(a_map(), tmp_path / "missing" / "map.svg")


def png_size(path) -> tuple[int, int]:
    raw = path.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(raw[16:20]), int.from_bytes(raw[20:24])


def has_hangul_font() -> bool:
    return not fonts.families_for("가ㄱ")[1]


def test_png_is_a_picture_of_a_sane_size(tmp_path):
    pytest.importorskip("matplotlib")
    attention = a_map(list("abcdefghij"), ["x", "$x_", "</s>"], token_log_probs=[-1.0] * 3)
    write(attention, tmp_path / "map.png")
    width, height = png_size(tmp_path / "map.png")
    assert 10 * 66 < width < 10 * 66 + 500
    assert 3 * 66 < height < 3 * 66 + 400


def test_png_of_hangul_draws_letters_not_boxes(tmp_path):
    pytest.importorskip("matplotlib")
    if not has_hangul_font():
        pytest.skip("no font with Hangul on this machine")
    jamo = [*unicodedata.normalize("NFD", "주목")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(a_map(jamo, list("jumok")), tmp_path / "map.png")
    assert png_size(tmp_path / "map.png")[0] > 300


def test_png_without_a_font_says_which_to_install(tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    only = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    monkeypatch.setattr(fonts, "_installed", lambda: iter([("DejaVu Sans", only)]))
    with pytest.warns(
        UserWarning, match="No installed font has ㅈ ㅜ, .* apt-get install fonts-nan"
    ):
        write(a_map(), tmp_path / "map.png")
    write(a_map(target=["x"]), tmp_path / "english.png")  # no warning: the captions are English


def test_a_font_of_boxes_alone_is_none(tmp_path):
    manager = pytest.importorskip("matplotlib.font_manager")
    every = {entry.name for entry in manager.fontManager.ttflist}
    used = {family for family, _ in fonts._installed()}
    assert "DejaVu Sans" in used
    assert {name for name in every if name.startswith("Last Resort")} & used == set()


def test_png_without_matplotlib(tmp_path, monkeypatch):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"jumok\[plot\]"):
        write(a_map(), tmp_path / "map.png")
