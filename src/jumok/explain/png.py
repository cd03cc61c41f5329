"""An attention map as a PNG file, drawn by matplotlib to look like the SVG.

Only matplotlib's objects are used, and of its global state the list of fonts alone, so that a
server's threads may draw.
"""

from __future__ import annotations

import io
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
from jumok.storage import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 28
_CELL = 0.3  # inches
_EM = 0.46  # size of a label's type, in cells
_DPI = 220
_BILINGUAL = {
    "source": "source 원문",
    "output": "output 출력",
    "prob.": "prob. 확률",
    "end": "end 끝",
}
_INK, _SOFT = "#16202e", "#5c6b80"


def write_png(attention: AttentionMap, path: str | Path) -> None:
    """Draw the map into a PNG file at 220 dpi, or fewer where its cells would pass 8,000 pixels.

    Raises `MissingExtra` without matplotlib, `StorageError` if the file cannot be written. Warns
    where no installed font has a character of a token, and draws ``□`` for it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("plot", "matplotlib") from error

    rows, columns = (max(count, 1) for count in attention.weights.shape)
    dpi = min(_DPI, 8_000 / (_CELL * max(rows, columns)))
    figure = Figure(figsize=(columns * _CELL, rows * _CELL), dpi=dpi)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, columns), ylim=(rows, 0))
    axes.axis("off")
    _Picture.of(attention, axes).draw()
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.15, facecolor="white")
    write_atomic(Path(path), file.getvalue())


@dataclass(frozen=True)
class _Picture:
    """The map on axes where one unit is one cell and row 0 is on top."""

    attention: AttentionMap
    axes: Axes
    sources: list[str]
    targets: list[str]
    families: list[str]
    captions: dict[str, str]

    @classmethod
    def of(cls, attention: AttentionMap, axes: Axes) -> _Picture:
        sources = [shorten(label, _LONGEST) for label in attention.source_labels]
        targets = [shorten(label, _LONGEST) for label in attention.target_labels]
        needed = set("".join([*sources, *targets]))
        families, missing = families_for("".join([*sorted(needed), *_BILINGUAL.values()]))
        if missing & needed:
            warn_of_boxes(missing & needed)
            boxes = str.maketrans(dict.fromkeys(missing, "□"))
            sources, targets = ([t.translate(boxes) for t in side] for side in (sources, targets))
        # without a Korean font, a picture without Korean tokens has English captions
        captions = {name: name for name in _BILINGUAL} if missing else _BILINGUAL
        return cls(attention, axes, sources, targets, families, captions)

    def draw(self) -> None:
        self._draw_cells()
        self._draw_sources()
        self._draw_targets()
        self._draw_probabilities()
        self._draw_legend()

    def _draw_cells(self) -> None:
        from matplotlib.colors import ListedColormap

        if self.attention.weights.size:
            shades = ListedColormap([_shade(k / 255) for k in range(256)])
            self.axes.pcolormesh(
                self.attention.weights, cmap=shades, vmin=0, vmax=1,
                edgecolors="white", linewidth=1.4, clip_on=False,
            )  # fmt: skip

    def _draw_sources(self) -> None:
        slanted = any(text_width(label, _EM) > 1 for label in self.sources)
        for j, label in enumerate(self.sources):
            if slanted and cell_len(label) > 1:
                slant = {"rotation": 45, "rotation_mode": "anchor"}
                self._text(j + 0.42, -0.2, label, "left", "bottom", **slant)
            else:
                self._text(j + 0.5, -0.3, label, "center", "baseline")
        if slanted:
            self._note(-0.3, -0.3, self.captions["source"], "right", "baseline")
        else:
            self._note(0.0, -1.1, self.captions["source"], "left", "baseline")

    def _draw_targets(self) -> None:
        for i, label in enumerate(self.targets):
            self._text(-0.3, i + 0.5, label, "right")
        left = -0.9 - max((text_width(label, _EM) for label in self.targets), default=0.0)
        middle = len(self.targets) / 2
        self._note(left, middle, self.captions["output"], "center", rotation=90)

    def _draw_probabilities(self) -> None:
        if self.attention.probabilities is None:
            return
        x = len(self.sources) + 1.4
        for i, p in enumerate(self.attention.probabilities):
            self._note(x, i + 0.5, percent(p), "right")
        self._note(x, len(self.targets) + 0.4, self.captions["prob."], "right")

    def _draw_legend(self) -> None:
        from matplotlib.patches import Rectangle

        y = len(self.targets) + 0.9
        self._note(0.1, y, "0", "left")
        for k in range(5):
            corner, face = (0.6 + 0.8 * k, y - 0.15), _shade(k / 4)
            step = Rectangle(corner, 0.8, 0.3, facecolor=face, linewidth=0, clip_on=False)
            self.axes.add_patch(step)
        self._note(4.85, y, "1", "left")
        if END_LABEL in (*self.sources, *self.targets):
            self._note(5.6, y, f"{END_LABEL} {self.captions['end']}", "left")

    def _note(self, x: float, y: float, text: str, ha: str, va: str = "center", **how: Any) -> None:
        self._text(x, y, text, ha, va, color=_SOFT, fontsize=8, **how)

    def _text(self, x: float, y: float, text: str, ha: str, va: str = "center", **how: Any) -> None:
        style = {"color": _INK, "fontsize": 10, "fontfamily": self.families, **how}
        # parse_math: a token such as $x$ is text, not a formula
        self.axes.text(x, y, text, ha=ha, va=va, parse_math=False, **style)


def _shade(weight: float) -> str:
    return palette.hex_colour(palette.colour(weight))
