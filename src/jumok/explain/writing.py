"""Writing a map to a file, in the format that the file's name asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jumok.errors import ConfigError
from jumok.explain.attention_map import AttentionMap
from jumok.explain.html import render_html
from jumok.explain.json_format import to_json
from jumok.explain.png import write_png
from jumok.explain.svg import render_svg
from jumok.storage import write_atomic

_TEXT_FORMATS: dict[str, Callable[[AttentionMap], str]] = {
    ".svg": render_svg,
    ".html": render_html,
    ".json": to_json,
}
SUFFIXES = (".svg", ".html", ".png", ".json")
"""Endings of a file name that `write` knows."""


def write(attention: AttentionMap, path: str | Path) -> None:
    """Write ``attention`` to ``path`` as SVG, HTML, PNG or JSON, by the ending of its name.

    Raises `ConfigError` for another ending, `StorageError` if the disk refuses, and
    `MissingExtra` for a PNG without matplotlib.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(
            f"An attention map is written to a file ending in {', '.join(SUFFIXES)}, but "
            f"'{path.name}' came"
        )
    if suffix == ".png":
        write_png(attention, path)
    else:
        # a lone surrogate in a token is not UTF-8; JSON reads the escape back
        text = _TEXT_FORMATS[suffix](attention)
        write_atomic(path, text.encode("utf-8", errors="backslashreplace"))
