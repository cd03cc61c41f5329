"""An attention map as a drawing: source on top, output on the left, a weight is a shade of blue.

The drawing names its colours by class (``l0`` .. ``l50``, ``ink``, ``soft``), so that the same
one stands alone with its own style sheet, or in a page with the page's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from rich.cells import cell_len

from jumok.explain import palette
from jumok.explain.attention_map import AttentionMap, percent
from jumok.explain.labels import END_LABEL, isolated, shorten

FONTS = (
    "'Noto Sans KR','Noto Sans CJK KR','Nanum Gothic','NanumGothic','Malgun Gothic',"
    "'Apple SD Gothic Neo',sans-serif"
)
_LONGEST = 28  # cells of a label; the tooltips have the whole token
_GAP = 2.0  # between cells
_MANY = 10_000
"""A map of more cells has no tooltips, and a path per row and shade: cells by themselves take a
browser 11 s where there are 40,000, paths 1 s."""
_SCALE = (0.0, 0.25, 0.5, 0.75, 1.0)  # the legend's steps


def render_svg(attention: AttentionMap) -> str:
    """Return a complete SVG file on white ground, for print and slides."""
    shown = {palette.level(w) for w in (*attention.weights.ravel().tolist(), *_SCALE)}
    fills = "".join(
        f".l{k}{{fill:{palette.hex_colour(palette.colour(k / palette.LEVELS))}}}"
        for k in sorted(shown)
    )
    style = f"text{{font-family:{FONTS}}}.ink{{fill:#16202e}}.soft{{fill:#5c6b80}}{fills}"
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    return draw(attention, f"<style>{style}</style>{ground}") + "\n"


def draw(attention: AttentionMap, before: str = "", scale: float = 1.0) -> str:
    """Return one ``<svg>`` element, ``scale`` times as large, with ``before`` as first content."""
    plan = _Plan.of(attention)
    size = f"{plan.width:.0f} {plan.height:.0f}"
    name = escape(f"Attention map: {' '.join(plan.sources)} → {' '.join(plan.targets)}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
        f'width="{plan.width * scale:.0f}" height="{plan.height * scale:.0f}" '
        f'role="img" aria-label="{name}">',
        before,
        _captions(plan),
        *_source_labels(plan),
        *_rows(plan),
        _legend(plan),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part)


@dataclass(frozen=True)
class _Plan:
    """Sizes and places in px. The grid's top left corner is (``left``, ``top``)."""

    attention: AttentionMap
    sources: list[str]
    targets: list[str]
    cell: float
    font: float
    slanted: bool
    left: float
    top: float
    width: float
    height: float

    @classmethod
    def of(cls, attention: AttentionMap) -> _Plan:
        sources = [shorten(label, _LONGEST) for label in attention.source_labels]
        targets = [shorten(label, _LONGEST) for label in attention.target_labels]
        rows, columns = attention.weights.shape
        cell = 34.0 if max(rows, columns) <= 40 else 24.0 if max(rows, columns) <= 100 else 16.0
        font = cell * 0.5
        widths = [text_width(label, font) for label in sources]
        slanted = any(width > cell for width in widths)
        left = 50 + max((text_width(label, font) for label in targets), default=0.0)
        if slanted:  # room for the caption beside the first label
            left = max(left, 120.0)
        rise = math.sqrt(0.5) * (max(widths, default=0.0) + font) if slanted else 1.3 * font
        reach = max(
            (left + (j + 0.5) * cell + math.sqrt(0.5) * (w + font) for j, w in enumerate(widths)),
            default=0.0,
        )
        numbers = 4.2 * font if attention.probabilities is not None else 0.0
        right = max(left + columns * cell + numbers, reach if slanted else 0.0, left + 260)
        top = (20 if slanted else 40) + rise
        bottom = top + max(rows * cell, 110) + 56
        return cls(
            attention, sources, targets, cell, font, slanted, left, top, right + 20, bottom
        )  # fmt: skip


def text_width(text: str, font: float) -> float:
    """Guess of a text's width in px: wide characters take 1 em, others 0.58 em on average."""
    return sum(font * (1.0 if cell_len(char) == 2 else 0.58) for char in text)


def _captions(plan: _Plan) -> str:
    middle = plan.top + len(plan.targets) * plan.cell / 2
    middle = max(middle, plan.top + 50)
    place = f'x="{plan.left:.1f}" y="26"'
    if plan.slanted:
        place = f'x="{plan.left - 10:.1f}" y="{plan.top - 9:.1f}" text-anchor="end"'
    return (
        f'<text class="soft" {place} font-size="14">source 원문</text>\n'
        f'<text class="soft" x="24" y="{middle:.1f}" font-size="14" text-anchor="middle" '
        f'transform="rotate(-90 24 {middle:.1f})">output 출력</text>'
    )


def _source_labels(plan: _Plan) -> list[str]:
    parts = []
    for j, label in enumerate(plan.sources):
        x, y = plan.left + (j + 0.5) * plan.cell, plan.top - 9
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="middle"'
        if plan.slanted and cell_len(label) > 1:
            place = f'transform="translate({x + 3:.1f} {y:.1f}) rotate(-45)"'
        parts.append(
            f'<text class="ink source" {place} font-size="{plan.font:g}">{escape(label)}</text>'
        )
    return parts


def _rows(plan: _Plan) -> list[str]:
    """One group per output token: its label, its cells, and its probability where known."""
    attention = plan.attention
    probabilities = attention.probabilities
    sources = [escape(isolated(label)) for label in attention.source_labels]
    targets = [escape(isolated(label)) for label in attention.target_labels]
    weights = attention.weights.tolist()  # plain numbers are rounded several times as fast
    parts = []
    for i, label in enumerate(plan.targets):
        y = plan.top + i * plan.cell
        base = y + plan.cell / 2 + plan.font * 0.36
        text = f'y="{base:.1f}" font-size="{plan.font:g}"'
        row = [
            f'<g class="row"><text class="ink target" x="{plan.left - 10:.1f}" {text} '
            f'text-anchor="end">{escape(label)}</text>'
        ]
        if attention.weights.size > _MANY:
            row += _shades(plan, y, weights[i])
        else:
            for j, weight in enumerate(weights[i]):
                tip = f"{targets[i]} ← {sources[j]}  {percent(weight)}"
                row.append(_cell(plan, plan.left + j * plan.cell, y, weight, tip))
        if probabilities is not None:
            x = plan.left + len(sources) * plan.cell + 3.4 * plan.font
            row.append(
                f'<text class="soft" x="{x:.1f}" y="{base:.1f}" '
                f'font-size="{0.82 * plan.font:.1f}" text-anchor="end">'
                f"{percent(probabilities[i])}</text>"
            )
        parts.append("".join(row) + "</g>")
    return parts


def _cell(plan: _Plan, x: float, y: float, weight: float, tip: str) -> str:
    side = plan.cell - _GAP
    return (
        f'<rect class="cell l{palette.level(weight)}" x="{x + _GAP / 2:g}" y="{y + _GAP / 2:g}" '
        f'width="{side:g}" height="{side:g}" rx="3"><title>{tip}</title></rect>'
    )


def _shades(plan: _Plan, y: float, weights: list[float]) -> list[str]:
    """The cells of a row, those of one shade in one path."""
    side = plan.cell - _GAP
    square = f" {y + _GAP / 2:g}h{side:g}v{side:g}h-{side:g}z"
    shades: dict[int, list[str]] = {}
    for j, weight in enumerate(weights):
        x = plan.left + j * plan.cell + _GAP / 2
        shades.setdefault(palette.level(weight), []).append(f"M{x:g}{square}")
    return [f'<path class="l{k}" d="{"".join(cells)}"/>' for k, cells in shades.items()]


def _legend(plan: _Plan) -> str:
    """The scale in five steps from 0 to 1, and what else needs a word."""
    y, x, side = plan.height - 32, plan.left, 26.0
    boxes = "".join(
        f'<rect class="l{palette.level(weight)}" x="{x + 18 + k * side:g}" y="{y:g}" '
        f'width="{side:g}" height="10"/>'
        for k, weight in enumerate(_SCALE)
    )
    text = f'class="soft" y="{y + 10:g}" font-size="13"'
    end = x + 18 + len(_SCALE) * side + 8
    parts = [f'<text {text} x="{x:g}">0</text>{boxes}<text {text} x="{end:g}">1</text>']
    if END_LABEL in (*plan.sources, *plan.targets):
        parts.append(f'<text {text} x="{end + 28:g}">{END_LABEL} end 끝</text>')
    if plan.attention.probabilities is not None:
        right = x + len(plan.sources) * plan.cell + 3.4 * plan.font
        below = plan.top + len(plan.targets) * plan.cell + 16
        parts.append(
            f'<text class="soft" x="{right:g}" y="{below:g}" font-size="12" text-anchor="end">'
            "prob. 확률</text>"
        )
    return "\n".join(parts)
