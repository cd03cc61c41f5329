"""How far long work on texts has come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jumok.predictor import TellOf


@contextmanager
def telling() -> Iterator[TellOf]:
    """A bar on stderr, for each piece of work from its beginning."""
    from jumok.progress import Bar

    with Bar() as bar:

        def tell(what: str, done: int, total: int) -> None:
            if not done:
                bar.restart()
            pace = f", {done / (time.monotonic() - bar.started):,.0f} a second" if done else ""
            share = done / total if total else 1.0
            bar.show(share, what, f"{done:,} of {total:,} texts{pace}")

        yield tell
