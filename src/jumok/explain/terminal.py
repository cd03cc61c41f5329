"""An attention map as text: rows are output tokens, columns are source tokens.

    source 원문  jumok

             j u m o k
    ㅈ  98% │▓◆▒▒░░    │ 63% j
    ㅜ  97% │░░▓◆░░    │ 60% u

A column is two cells wide, so that cells are square and a Hangul letter fits above its column.
Longer source tokens are written down a staircase, each on a line of its own, never cut into
letters. A map wider than the terminal is broken into blocks of columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len

from jumok.explain.attention_map import AttentionMap, percent
from jumok.explain.labels import END_LABEL, shorten, visible

COLUMN = 2  # terminal cells per source token
MARK = "◆"
_SHADES = ((0.75, "█"), (0.5, "▓"), (0.25, "▒"), (0.05, "░"), (0.0, " "))
# Backgrounds out of the 256 colours that all terminals have, in rising lightness from dark grey
# over blue to pale yellow (as viridis), and the text colour that is read best on each.
_RAMP = ((236, 255), (23, 255), (24, 255), (31, 231), (38, 16), (80, 16), (122, 16), (194, 16))
_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"


def render_terminal(
    attention: AttentionMap, *, width: int | None = None, color: bool = False
) -> str:
    """Draw the map with shade glyphs, or on coloured cells if ``color``.

    ``width``: terminal cells in a line, 40 or more; None draws all columns side by side. The
    strongest weight of a row bears a ``◆`` and is told in words at the row's end.
    """
    table = _Table.of(attention, width)
    count = len(table.sources)
    step = table.columns_per_block(width)
    blocks = [range(start, min(start + step, count)) for start in range(0, count, step)]
    lines = _head(attention, width)
    for columns in blocks or [range(0)]:
        lines += [*_header(table, columns, width, color), *_rows(table, columns, color), ""]
    lines += _legend(table, width, color)
    return "\n".join(line.rstrip() for line in lines)


@dataclass(frozen=True)
class _Table:
    """What stands around the grid, padded to common widths."""

    attention: AttentionMap
    sources: list[str]
    left: list[str]
    right: list[str]

    @classmethod
    def of(cls, attention: AttentionMap, width: int | None) -> _Table:
        longest = 24 if width is None else max(width // 5, 2)
        sources = [_flat(label) for label in attention.source_labels]
        targets = [shorten(_flat(label), longest) for label in attention.target_labels]
        probabilities = attention.probabilities
        if probabilities is not None:
            targets = _pad(targets)
            targets = [
                f"{label} {percent(p):>4}" for label, p in zip(targets, probabilities, strict=True)
            ]
        right = [
            "" if best is None else f"{percent(row[best]):>4} {shorten(sources[best], longest)}"
            for row, best in zip(attention.weights, attention.strongest, strict=True)
        ]
        return cls(attention, sources, _pad(targets), right)

    @property
    def margin(self) -> int:
        """Cells left of the grid, its border counted."""
        return max(map(cell_len, self.left), default=0) + 2

    def columns_per_block(self, width: int | None) -> int:
        if width is None:
            return max(len(self.sources), 1)
        room = width - self.margin - 1 - max(map(cell_len, self.right), default=0)
        return max(room // COLUMN, 1)


def _head(attention: AttentionMap, width: int | None) -> list[str]:
    lines = []
    if attention.source_text:
        lines.append(f"source 원문  {visible(attention.source_text)}")
    if attention.target_text:
        lines.append(f"output 출력  {visible(attention.target_text)}")
    if attention.score is not None:
        lines.append(f"score  점수  {attention.score:.3f}")
    if width is not None:
        lines = [shorten(line, width) for line in lines]
    return [*lines, ""] if lines else []


def _header(table: _Table, columns: range, width: int | None, color: bool) -> list[str]:
    """Source tokens over their columns: in one line if all are narrow, else a staircase."""
    margin = " " * table.margin
    names = [table.sources[j] for j in columns]
    if all(cell_len(name) <= COLUMN for name in names):
        return [margin + "".join(name + " " * (COLUMN - cell_len(name)) for name in names)]
    lines = []
    for place, name in enumerate(names):
        rails = "│ " * place
        if width is not None:
            name = shorten(name, width - len(margin) - len(rails))
        lines.append(margin + (f"{_DIM}{rails}{_RESET}" if color and rails else rails) + name)
    return lines


def _rows(table: _Table, columns: range, color: bool) -> list[str]:
    rows = []
    for i, best in enumerate(table.attention.strongest):
        cells = [_cell(table.attention.weights[i, j], j == best, color) for j in columns]
        label = f"{_BOLD}{table.left[i]}{_RESET}" if color else table.left[i]
        rows.append(f"{label} │{''.join(cells)}│{table.right[i]}")
    return rows


def _cell(weight: float, strongest: bool, color: bool) -> str:
    if not color:
        shade = next(glyph for least, glyph in _SHADES if weight >= least)
        return shade + (MARK if strongest else shade)
    background, ink = _RAMP[min(int(weight * len(_RAMP)), len(_RAMP) - 1)]
    text = f"{MARK} " if strongest else "  "
    return f"\x1b[48;5;{background};38;5;{ink}m{text}{_RESET}"


def _legend(table: _Table, width: int | None, color: bool) -> list[str]:
    if color:
        ramp = "".join(_cell((k + 0.5) / len(_RAMP), False, True) for k in range(len(_RAMP)))
        scale = f"0% {ramp} 100%"
    else:
        scale = "  ".join(f"{glyph * COLUMN} {percent(least)}" for least, glyph in _SHADES[-2::-1])
    notes = [f"{MARK} strongest"]
    if END_LABEL in (*table.attention.source_labels, *table.attention.target_labels):
        notes.append(f"{END_LABEL} end")
    lines = [scale, "   ".join(notes)]
    if table.attention.probabilities is not None:
        lines.append("left: probability of the output token")
    if width is None or width >= 60:
        lines[:2] = ["   ".join(lines[:2])]
    return lines


def _pad(texts: list[str]) -> list[str]:
    """Right-align in terminal cells."""
    widest = max(map(cell_len, texts), default=0)
    return [" " * (widest - cell_len(text)) + text for text in texts]


def _flat(label: str) -> str:
    """Drop joiners: terminals differ in how many cells a joined emoji takes."""
    return label.replace("\u200d", "").replace("\u200c", "")
