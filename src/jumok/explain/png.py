"""An attention map as a PNG file, drawn by matplotlib to look like the SVG.

Only matplotlib's objects are used, never its global state, so that a server's threads may draw.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from jumok.errors import MissingExtra
from jumok.explain import palette
from jumok.explain.attention_map import AttentionMap, percent
from jumok.explain.fonts import families_for, warn_of_boxes
from jumok.explain.labels import END_LABEL, shorten
from jumok.explain.svg import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 28
_CELL = 0.3  # inches
_DPI = 220
_BILINGUAL = {
    "source": "source 원문",
    "output": "output 출력",
    "prob.": "prob. 확률",
    "end": "end 끝",
}
_INK, _SOFT = "#16202e", "#5c6b80"


def write_png(attention: AttentionMap, path: str | Path) -> None:
    """Draw the map into a PNG file at 220 dpi.

    Raises `MissingExtra` without matplotlib, `OSError` if the file cannot be written. Warns where
    no installed font has a character of a token.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("plot", "matplotlib") from error

    picture = _Picture.of(attention)
    rows, columns = attention.weights.shape
    figure = Figure(figsize=(max(columns, 1) * _CELL, max(rows, 1) * _CELL), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, max(columns, 1)), ylim=(max(rows, 1), 0))
    axes.axis("off")
    picture.draw_on(axes)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # told already, in one sentence
        figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.15, facecolor="white")


@dataclass(frozen=True)
class _Picture:
    """The map on axes where one unit is one cell and row 0 is on top."""

    attention: AttentionMap
    sources: list[str]
    targets: list[str]
    families: list[str]
    captions: dict[str, str]

    @classmethod
    def of(cls, attention: AttentionMap) -> _Picture:
        sources = [shorten(label, _LONGEST) for label in attention.source_labels]
        targets = [shorten(label, _LONGEST) for label in attention.target_labels]
        tokens = "".join([*sources, *targets, "…0123456789%"])
        families, missing = families_for(tokens + "".join(_BILINGUAL.values()))
        if missing & set(tokens):
            warn_of_boxes(missing & set(tokens))
        # without a Korean font, a picture without Korean tokens has English captions
        captions = {name: name for name in _BILINGUAL} if missing else _BILINGUAL
        return cls(attention, sources, targets, families, captions)

    def draw_on(self, axes: Axes) -> None:
        rows, columns = self.attention.weights.shape
        for i in range(rows):
            for j in range(columns):
                self._square(axes, j, i, self.attention.weights[i, j])
        self._draw_sources(axes)
        for i, label in enumerate(self.targets):
            self._text(axes, -0.3, i + 0.5, label, ha="right", va="center")
        for i, p in enumerate(self.attention.probabilities or ()):
            self._text(axes, columns + 1.4, i + 0.5, percent(p), soft=True, ha="right", va="center")
        if self.attention.probabilities is not None:
            self._text(
                axes,
                columns + 1.4,
                rows + 0.4,
                self.captions["prob."],
                soft=True,
                ha="right",
                va="center",
            )
        self._draw_legend(axes, rows + 0.9)

    def _draw_sources(self, axes: Axes) -> None:
        slanted = any(text_width(label, 0.46) > 1 for label in self.sources)
        for j, label in enumerate(self.sources):
            if slanted and cell_len(label) > 1:
                self._text(
                    axes, j + 0.42, -0.2, label, ha="left", va="bottom",
                    rotation=45, rotation_mode="anchor",
                )  # fmt: skip
            else:
                self._text(axes, j + 0.5, -0.3, label, ha="center", va="baseline")
        if slanted:
            self._text(
                axes, -0.3, -0.3, self.captions["source"], soft=True, ha="right", va="baseline"
            )
        else:
            self._text(axes, 0, -1.1, self.captions["source"], soft=True, ha="left", va="baseline")
        left = -0.9 - max((text_width(label, 0.46) for label in self.targets), default=0.0)
        middle = len(self.targets) / 2
        self._text(
            axes,
            left,
            middle,
            self.captions["output"],
            soft=True,
            ha="center",
            va="center",
            rotation=90,
        )

    def _draw_legend(self, axes: Axes, y: float) -> None:
        self._text(axes, 0.1, y, "0", soft=True, ha="left", va="center")
        for k in range(5):
            self._rectangle(axes, (0.6 + 0.8 * k, y - 0.15), (0.8, 0.3), k / 4)
        self._text(axes, 4.85, y, "1", soft=True, ha="left", va="center")
        if END_LABEL in (*self.sources, *self.targets):
            self._text(
                axes,
                5.6,
                y,
                f"{END_LABEL} {self.captions['end']}",
                soft=True,
                ha="left",
                va="center",
            )

    def _square(self, axes: Axes, x: float, y: float, weight: float) -> None:
        self._rectangle(axes, (x + 0.03, y + 0.03), (0.94, 0.94), weight)

    @staticmethod
    def _rectangle(
        axes: Axes, corner: tuple[float, float], size: tuple[float, float], weight: float
    ) -> None:
        from matplotlib.patches import Rectangle

        face = palette.hex_colour(palette.colour(weight))
        axes.add_patch(Rectangle(corner, *size, facecolor=face, linewidth=0, clip_on=False))

    def _text(
        self, axes: Axes, x: float, y: float, text: str, *, soft: bool = False, **style: Any
    ) -> None:
        """``parse_math=False``: a token such as ``$x$`` is text, not a formula."""
        axes.text(
            x, y, text, color=_SOFT if soft else _INK, fontfamily=self.families,
            fontsize=8 if soft else 10, parse_math=False, **style,
        )  # fmt: skip
