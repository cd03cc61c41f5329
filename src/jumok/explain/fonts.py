"""Finding fonts for PNG files: Hangul and phonetic letters must not come out as boxes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from functools import cache

_PREFERRED = (
    "Noto Sans KR",
    "Noto Sans CJK KR",
    "Noto Sans CJK JP",  # one font file for all CJK languages; matplotlib knows it by this name
    "NanumGothic",
    "NanumBarunGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "Baekmuk Gulim",
    "UnDotum",
    "DejaVu Sans",  # comes with matplotlib
)

_BOXES = "Last Resort"
"""Comes with matplotlib from 3.11 on, and has a box for every character there is."""


def families_for(text: str) -> tuple[list[str], set[str]]:
    """Return the font families that together have ``text``, and the characters that none has."""
    missing = {ord(char) for char in text if not char.isspace()}
    chosen: list[str] = []
    for family, path in _installed():
        if not missing:
            break
        here = missing & _characters(path)
        if here:
            missing -= here
            chosen.append(family)
    return chosen or ["DejaVu Sans"], set(map(chr, missing))


def warn_of_boxes(missing: set[str]) -> None:
    """Warn of characters that no font has, and say what to install."""
    warnings.warn(
        f"No installed font has {' '.join(sorted(missing))}, so the picture shows □ there. Install "
        "a font that does (for Korean: apt-get install fonts-nanum, or Noto Sans KR)",
        stacklevel=2,
    )


def _installed() -> Iterator[tuple[str, str]]:
    """Yield (family, path) of upright fonts: preferred, then all, then new on the disk."""
    from matplotlib import font_manager

    manager = font_manager.fontManager

    def upright(known: Iterable[font_manager.FontEntry]) -> list[font_manager.FontEntry]:
        return [
            f
            for f in known
            if f.style == "normal"
            and f.weight in (400, "normal", "regular")
            and not f.name.startswith(_BOXES)
        ]

    rank = {name: place for place, name in enumerate(_PREFERRED)}
    known = upright(manager.ttflist)
    for entry in sorted(known, key=lambda f: (rank.get(f.name, len(rank)), f.name)):
        yield entry.name, entry.fname
    # matplotlib keeps a list from its first start and misses fonts installed since
    seen = {entry.fname for entry in manager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - seen):
        before = len(manager.ttflist)
        try:
            manager.addfont(path)
        except (OSError, RuntimeError):
            continue  # a broken font file
        for entry in upright(manager.ttflist[before:]):
            yield entry.name, entry.fname


@cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
