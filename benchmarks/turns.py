"""Turns: everything is measured once in each, so that a change of the machine's mood meets all.

Ratios are taken within a turn, so whole turns can be measured on different days: they are kept, and
nobody need wait for hours at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cli_runs import scripts_hash, source_hash

T = TypeVar("T")


def in_turns(items: Sequence[T], turns: int) -> Iterator[tuple[int, T]]:
    """Every item in every turn, which are counted from 1."""
    for turn in range(turns):
        for item in one_turn(items, turn):
            yield turn + 1, item


def one_turn(items: Sequence[T], before: int) -> list[T]:
    """All items, in the order of the turn with so many ``before``: nobody always comes first."""
    start = before % len(items)
    return [*items[start:], *items[:start]]


def kept_turns(path: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    """What `keep_turns` wrote, where it is of the same code and has what these ``names`` name."""
    if not path.exists():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    wanted = set(names)
    same = kept["source"] == _code()
    return [turn for turn in kept["turns"] if same and turn.keys() == wanted]


def keep_turns(path: Path, turns: Sequence[dict[str, Any]]) -> None:
    """Whole turns: what was measured of each name."""
    kept = {"source": _code(), "turns": turns}
    path.write_text(json.dumps(kept), encoding="utf-8")


def _code() -> str:
    """All that a figure follows from: jumok's code, and how everybody is trained and timed."""
    return f"{source_hash()} {scripts_hash('rivals', 'trained', 'decoding', 'plain_loop')}"
