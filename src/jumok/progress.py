"""What a person sees of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

_SILENCE = 30.0
"""Seconds between two lines where there is no terminal."""

Tell = Callable[[str, int, float | None], None]
"""Told of what so many are done, and what share of all that is, where it is known."""
Counted = Callable[[int, int], None]
"""Told how many are done, and of how many."""


class Bar:
    """Progress on stderr, so that stdout stays free for results."""

    def __init__(self, quiet: bool = False) -> None:
        # here, as an answer to one line shows no bar, and need not wait for this
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self.console = Console(file=sys.stderr, highlight=False, emoji=False, quiet=quiet)
        self.progress = Progress(
            TextColumn("{task.fields[head]}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[tail]} ", markup=False),
            TextColumn("{task.fields[left]}", style="dim", markup=False),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("", total=None, head="", tail="", left="")
        self.started = self.spoke = time.monotonic()
        self.first: float | None = None

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def restart(self) -> None:
        """Other work begins, whose pace is not that of the work before."""
        self.started, self.first = time.monotonic(), None

    def rate(self, done: int) -> str:
        """So many since the beginning, a second."""
        return f"{done / max(time.monotonic() - self.started, 1e-9):,.0f}"

    def show(
        self, done: float | None, head: str, tail: str, left: str = "{} left", line: str = ""
    ) -> None:
        """Move the bar to ``done`` of 1, None where the whole is not known; off a terminal, say
        ``line`` every half minute. ``left`` says how the time that is left is told."""
        if self.first is None:
            self.first = done  # work that goes on does not start at nothing
        time_left = self._time_left(done)
        told = left.format(time_left) if time_left else ""
        if done is not None:
            self.progress.update(self.task, total=1.0, completed=done)
        self.progress.update(self.task, head=head, tail=tail, left=told)
        if not self.console.is_terminal and time.monotonic() - self.spoke > _SILENCE:
            self.spoke = time.monotonic()
            self.message(f"{line or f'{head}  {tail}'}  {told}".rstrip())

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self.progress.console.print(text, markup=False, emoji=False, soft_wrap=True)

    def _time_left(self, done: float | None) -> str:
        """Hours (where there are any), minutes and seconds at the pace so far."""
        if done is None or self.first is None or done <= self.first:
            return ""
        gone = time.monotonic() - self.started
        minutes, seconds = divmod(int(max(0.0, gone * (1.0 - done) / (done - self.first))), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


@contextmanager
def telling(unit: str) -> Iterator[Tell]:
    """A bar for work that tells of pieces, each from its beginning, in which nothing is done."""
    with Bar() as bar:

        def tell(what: str, done: int, share: float | None) -> None:
            if not done:
                bar.restart()
            pace = f", {bar.rate(done)} a second" if done else ""
            bar.show(share, what, f"{done:,} {unit}{pace}")

        yield tell


def counted(tell: Tell | None, what: str) -> Counted | None:
    """The same for work that knows how many there are in all."""
    if tell is None:
        return None
    return lambda done, total: tell(what, done, done / total if total else 1.0)
