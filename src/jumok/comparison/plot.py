"""A comparison as a picture: the differences of all metrics, and the main metric by groups.

Only matplotlib's objects are used, never its global state.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from jumok.comparison.bootstrap import Estimate
from jumok.comparison.report import Comparison, Group
from jumok.config import LOWER_IS_BETTER
from jumok.errors import ConfigError, MissingExtra
from jumok.explain.fonts import families_for, warn_of_boxes
from jumok.explain.labels import shorten, visible
from jumok.storage import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ENDINGS = (".svg", ".png")
_COLOURS = {"a": "#c2571a", "b": "#0b5cad", None: "#8592a3"}
"""Orange and blue, which the colour-blind tell apart."""
_INK, _SOFT = "#16202e", "#5c6b80"
_LONGEST = 40
_KOREAN = {
    "difference": "B − A 차이, 95 %",
    "length": "원문 길이",
    "frequency": "학습 원문에서 가장 드문 단위의 횟수",
    "word": "단어",
    "character": "글자",
}


def check_plot(path: Path) -> None:
    """Raise `ConfigError` or `MissingExtra` where `write_plot` would."""
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigError(
            f"A comparison is drawn to a file ending in {' or '.join(_ENDINGS)}, but "
            f"'{path.name}' came"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra("plot", "matplotlib") from error


def write_plot(comparison: Comparison, path: str | Path) -> None:
    """Draw to an SVG or PNG file, by the ending of its name.

    Perplexity, which is not in per cent, is left out of the differences. Raises `ConfigError` for
    another ending, `MissingExtra` without matplotlib, `StorageError` where the disk refuses.
    """
    path = Path(path)
    check_plot(path)
    file = io.BytesIO()
    _draw(comparison).savefig(
        file, format=path.suffix.lower()[1:], bbox_inches="tight", pad_inches=0.15
    )
    write_atomic(path, file.getvalue())


def _draw(comparison: Comparison) -> Figure:
    """The differences, then one panel for each group."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    names = [shorten(visible(name), _LONGEST) for name in comparison.names]
    families, missing = families_for("".join([*names, *_KOREAN.values()]))
    needed = missing & set("".join(names))
    if needed:
        warn_of_boxes(needed)
        boxes = str.maketrans(dict.fromkeys(needed, "□"))
        names = [name.translate(boxes) for name in names]
    # without a Korean font, a picture without Korean names has English captions
    korean = not missing & set("".join(_KOREAN.values()))
    panels = 1 + len(comparison.groups)
    figure = Figure(figsize=(4.4 * panels, 3.8), dpi=160, layout="constrained", facecolor="white")
    differences, *others = figure.subplots(1, panels, squeeze=False)[0]
    _draw_differences(differences, comparison, korean)
    for axes, group in zip(others, comparison.groups, strict=True):
        _draw_group(axes, comparison.metric, group, korean)
    for side, name in zip("ab", names, strict=True):
        others[0].plot([], [], "o-", color=_COLOURS[side], label=f"{side.upper()}  {name}")
    figure.legend(loc="outside upper left", frameon=False)
    figure.text(1, 1, comparison.verdict, ha="right", va="bottom", color=_INK)
    for text in figure.findobj(Text):
        text.set_fontfamily(families)
        text.set_parse_math(False)  # a name such as $x$ is text, not a formula
    return figure


def _draw_differences(axes: Axes, comparison: Comparison, korean: bool) -> None:
    scores = {n: score for n, score in comparison.scores.items() if n != "perplexity"}
    for row, score in enumerate(scores.values()):
        _point(axes, float(row), score.difference, _COLOURS[score.better], across=True)
    axes.axvline(0, color=_INK, linewidth=0.8)
    arrows = {name: "↓" if name in LOWER_IS_BETTER else "↑" for name in scores}
    axes.set_yticks(range(len(scores)), [f"{name} {arrow}" for name, arrow in arrows.items()])
    axes.invert_yaxis()
    _finish(axes, "B − A, 95 %" if not korean else _KOREAN["difference"], "")


def _draw_group(axes: Axes, metric: str, group: Group, korean: bool) -> None:
    for side, shift in (("a", -0.1), ("b", 0.1)):
        for place, (_, score) in enumerate(group.buckets):
            _point(axes, place + shift, getattr(score, side), _COLOURS[side])
    labels = [f"{bucket.label}\nn={len(bucket.items):,}" for bucket, _ in group.buckets]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    units = group.grouping.units
    captions = {
        "length": f"source length in {units}s",
        "frequency": f"occurrences of the rarest {units} in training",
    }
    caption = captions[group.grouping.by]
    if korean:
        caption += f"\n{_KOREAN[group.grouping.by]} ({_KOREAN[units]})"
    _finish(axes, caption, f"{metric} {'↓' if metric in LOWER_IS_BETTER else '↑'}")


def _point(axes: Axes, place: float, found: Estimate, colour: str, across: bool = False) -> None:
    """A value with its interval, which need not hold it."""
    low, high = min(found.low, found.value), max(found.high, found.value)
    axes.plot(*_turned([place, place], [low, high], across), color=colour, linewidth=1.6)
    axes.plot(*_turned([place], [found.value], across), "o", color=colour)


def _turned(
    places: list[float], values: list[float], across: bool
) -> tuple[list[float], list[float]]:
    return (values, places) if across else (places, values)


def _finish(axes: Axes, below: str, left: str) -> None:
    axes.set_xlabel(below, color=_SOFT)
    axes.set_ylabel(left, color=_SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=_SOFT, labelcolor=_INK, labelsize=9)
    axes.grid(color="#e3e8ef", linewidth=0.6)
    axes.set_axisbelow(True)
