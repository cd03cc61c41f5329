"""Maps as terminal text: alignment in cells, blocks of columns, colours, and hostile tokens."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from jumok.explain import AttentionMap, render_terminal

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
GERMAN = "Der Vorsitzende des Bundesverfassungsgerichts hat es gestern in Karlsruhe bestätigt ."


def soft(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(columns, 0.3), size=rows)


def a_map(source: list[str], target: list[str], **fields) -> AttentionMap:
    return AttentionMap(source, target, soft(len(target), len(source)), **fields)


def grid_rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.count("│") == 2 and line.index("│") > 0]


def test_by_hand():
    weights = np.array([[0.9, 0.1, 0.0], [0.04, 0.36, 0.6]])
    attention = AttentionMap(["j", "ㅜ", "</s>"], ["ㅈ", "u"], weights, token_log_probs=[0.0, -0.7])
    assert render_terminal(attention) == "\n".join(
        [
            "         j ㅜ∎",
            "ㅈ 100% │█◆░░  │ 90% j",
            " u  50% │  ▒▒▓◆│ 60% ∎",
            "",
            "░░ 5%  ▒▒ 25%  ▓▓ 50%  ██ 75%   ◆ strongest   ∎ end",
            "left: probability of the output token",
        ]
    )


def test_hangul_letters_stand_over_their_columns():
    jamo = [*unicodedata.normalize("NFD", "주목받다")]
    lines = render_terminal(a_map(jamo, list("jumok"))).splitlines()
    border = lines[1].index("│")
    for j, letter in enumerate("ㅈㅜㅁㅗㄱㅂㅏㄷㄷㅏ"):
        assert lines[0][border + 1 + j] == letter
    assert cell_len(lines[0]) == cell_len(lines[1][: lines[1].rindex("│")])


def test_thirty_letters_fit_eighty_columns_in_one_block():
    attention = a_map(
        list("abcdefghijklmnopqrstuvwxyzabcd"), list("abcde"), token_log_probs=[-1.0] * 5
    )
    text = render_terminal(attention, width=80)
    assert len(grid_rows(text)) == 5
    assert max(map(cell_len, text.splitlines())) <= 80


def test_words_come_down_a_staircase_whole():
    words = GERMAN.split()
    lines = render_terminal(a_map(words, ["x"]), width=100).splitlines()
    left = lines[0].index("Der")
    for j, (line, word) in enumerate(zip(lines, words, strict=False)):
        assert line == " " * left + "│ " * j + word
    assert lines[len(words)].index("│") == left - 1


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_wide_map_is_broken_into_blocks(width):
    source = [*unicodedata.normalize("NFD", "동해물과백두산이마르고닳도록하느님이보우하사")]
    attention = a_map(source, list("donghae"), token_log_probs=[-0.5] * 7)
    text = render_terminal(attention, width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    cells = [row.split("│")[1] for row in grid_rows(text)]
    assert sum(map(cell_len, cells)) == 2 * len(source) * 7
    assert text.count("◆") == 7 + 1  # each row's strongest once, and the legend


# without the signs by which the test finds the grid again
TEXTS = st.text(st.characters(exclude_characters="│◆%"), max_size=6)
TOKENS = st.lists(TEXTS, min_size=1, max_size=12)
GRID_ROW = re.compile(r"^(.* )(│[ ░▒▓█◆]*│) *\d+% ", re.MULTILINE)


@settings(max_examples=60, deadline=None)
@given(TOKENS, TOKENS, st.booleans(), st.sampled_from([None, 40, 80]))
def test_rows_are_aligned_and_nothing_escapes(source, target, color, width):
    attention = AttentionMap(source, target, soft(len(target), len(source)))
    text = render_terminal(attention, width=width, color=color)
    plain = ESCAPE.sub("", text)
    assert color or plain == text
    assert not [c for c in plain if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")]
    assert len(plain.splitlines()) == plain.count("\n") + 1
    assert color or all(line == line.rstrip() for line in plain.splitlines())
    rows = GRID_ROW.findall(plain)
    assert len({cell_len(left) for left, _ in rows}) == 1
    grids = [cell_len(grid) for _, grid in rows]
    assert sum(grids) % len(target) == 0  # as many rows per block as there are target tokens
    if width is None:
        assert grids == [2 * len(source) + 2] * len(target)
    else:
        assert max(map(cell_len, plain.splitlines())) <= width


def test_no_escape_without_colour_and_every_cell_is_painted_with_it():
    attention = a_map(list("abc"), list("xy"))
    assert "\x1b" not in render_terminal(attention, color=False)
    coloured = render_terminal(attention, color=True)
    assert len(re.findall(r"\x1b\[48;5;\d+;38;5;\d+m", coloured)) == 3 * 2 + 8  # and the scale
    assert coloured.count("\x1b[0m") == 3 * 2 + 8 + 2


def test_control_characters_are_neutralised():
    evil = "\x1b]0;owned\x07"
    attention = a_map([evil, "\r"], [evil], source_text=evil, target_text="\x9b2J\n\nfake line")
    text = render_terminal(attention, width=80, color=False)
    assert not {"\x1b", "\x07", "\r", "\x9b"} & set(text)
    assert "␛]0;owned␇" in text
    assert "output 출력  \ufffd2J␊␊fake line" in text


def test_long_texts_and_tokens_are_cut():
    attention = a_map(["s" * 200, "b"], ["t" * 200], source_text="가" * 200)
    text = render_terminal(attention, width=60)
    assert max(map(cell_len, text.splitlines())) <= 60
    assert text.splitlines()[0].endswith("…")


def test_rows_without_attention_have_no_mark():
    attention = AttentionMap(["a", "b"], ["x"], np.zeros((1, 2)))
    assert render_terminal(attention).splitlines()[1] == "x │    │"


def test_empty_output():
    assert "strongest" in render_terminal(AttentionMap(["a"], [], np.zeros((0, 1))), width=80)
    assert "strongest" in render_terminal(AttentionMap([], [], np.zeros((0, 0))), width=80)
