"""A search of settings as a table for people, or as JSON."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from jumok.config import shown

if TYPE_CHECKING:
    from jumok.training.tune import Search

_WIDTH = 80


def render_search(search: Search, form: str) -> str:
    """Trials, the best first, in 80 columns; or one JSON."""
    if form == "json":
        trials = [{**one._asdict(), "directory": str(one.directory)} for one in search.trials]
        found = {"metric": search.metric, "best": trials[0]["directory"], "trials": trials}
        return json.dumps(found, ensure_ascii=False, indent=2)
    names = _tails(list(search.best.settings))
    lines = [f"trial{search.metric:>13}  {'ended':<10}  settings"]
    for one in search.trials:
        value = "" if one.value is None else f"{one.value:.2f}"
        head = f"{one.number:03d}".ljust(5) + f"{value:>13}  {one.ended:<10}  "
        settings = " ".join(f"{names[key]}={_short(value)}" for key, value in one.settings.items())
        lines += textwrap.wrap(
            settings, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head)
        )
    best = search.best
    lines.append(f"best: {search.metric} {best.value:.2f} in {best.directory}")
    return "\n".join(lines)


def _tails(keys: list[str]) -> dict[str, str]:
    """The last words of each key, as many as tell it from the others."""

    def tail(key: str, words: int) -> str:
        return ".".join(key.split(".")[-words:])

    def alone(key: str, words: int) -> bool:
        return [tail(other, words) for other in keys].count(tail(key, words)) == 1

    return {key: next(tail(key, n) for n in range(1, 9) if alone(key, n)) for key in keys}


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shown(value)
