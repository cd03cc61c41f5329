"""Pairs, and what every format asks of the texts and columns they are made of."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jumok.data.lines import OR_SKIP, BadLine
from jumok.errors import ConfigError, DataError, InputError
from jumok.text import split_features


class Pair(NamedTuple):
    """One training example: two texts, as the file has them."""

    source: str
    target: str


class Row(NamedTuple):
    """A pair, and the line or row where it begins, from 1.

    ``path`` is the very file: of a directory the one in it, of two files the source's.
    """

    pair: Pair
    line: int
    path: Path


def make_row(
    source: str,
    target: str,
    path: Path,
    number: int,
    features: bool,
    before: str | None = None,
) -> Row | BadLine:
    """The row; ``before`` is a column of features, which are one word, for before the source."""
    for side, text in (("source", source), ("target", target)):
        if not text.strip():
            reason = f"text was expected, but the {side} is empty. Fill it in, {OR_SKIP}"
            return BadLine(reason, path=path, line=number, kind="empty-side")
    if before is not None:
        if len(before.split()) != 1:
            reason = (
                f"features without a space between them were expected, but '{before:.40}' came. "
                f"Correct the line, {OR_SKIP}"
            )
            return BadLine(reason, path=path, line=number)
        source = f"{before.strip()} {source}"
    if features:
        try:
            split_features(source)  # as the tokenizers will
        except InputError:
            reason = (
                "features, a space and a text were expected as the source, as in 'V;PST gehen', "
                f"but {source[:40]!r} came. Correct the line, set data.features_column, {OR_SKIP}"
            )
            return BadLine(reason, path=path, line=number)
    return Row(Pair(source, target), number, path)


def different_columns(source: int | str, target: int | str, features: int | str) -> None:
    """Raise `ConfigError` where two would be the same text."""
    if source == target:
        raise ConfigError(
            f"Source and target would both be column {source}. Set data.source_column and "
            "data.target_column to different columns"
        )
    if features in (source, target):
        raise ConfigError(
            f"data.features_column={features} is also the column of the "
            f"{'source' if features == source else 'target'}. Set it to a column of its own"
        )


def column_index(
    setting: str, name: str, header: Sequence[str], path: Path, line: int | None = None
) -> int:
    """Where column ``name`` is. Raises `DataError` unless the header has it exactly once."""
    if header.count(name) == 1:
        return header.index(name)
    problem = "comes twice" if name in header else "is missing"
    raise DataError(
        f"column '{name}' {problem}.{close_to(name, header)} The columns are: "
        f"{', '.join(header):.500}. Set data.{setting}",
        path=path,
        line=line,
    )


def close_to(name: str, names: Sequence[str]) -> str:
    """A question to add to a message: whether one of ``names`` was meant."""
    close = [n for n in difflib.get_close_matches(name, names[:1000], n=1) if n != name]
    return f" Did you mean '{close[0]}'?" if close else ""


def text_of(value: Any, name: str) -> str:
    """``value``, which is of the field or column ``name``, if it is text that can be used.

    Raises `ValueError` with a sentence if not.
    """
    if not isinstance(value, str):
        raise ValueError(
            f"field '{name}' should hold text, but {json.dumps(value):.60} came. Correct the line"
        )
    if "\0" in value or not _is_whole(value):
        raise ValueError(
            f"field '{name}' holds half of a surrogate pair or a NUL character. Correct the line"
        )
    return value


def _is_whole(text: str) -> bool:
    """Whether no character is half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
