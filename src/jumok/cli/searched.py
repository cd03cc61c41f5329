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
    lines = [f"trial{search.metric:>13}  {'ended':<10}  settings"]
    for one in search.trials:
        value = "" if one.value is None else f"{one.value:.2f}"
        head = f"{one.number:03d}".ljust(5) + f"{value:>13}  {one.ended:<10}  "
        settings = " ".join(f"{key}={_short(value)}" for key, value in one.settings.items())
        lines += textwrap.wrap(
            settings, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head)
        )
    best = search.best
    lines.append(f"best: {search.metric} {best.value:.2f} in {best.directory}")
    return "\n".join(lines)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shown(value)
