"""What a person sees of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

_SILENCE = 30.0
"""Seconds between two lines where there is no terminal."""


class Bar:
    """Progress on stderr, so that stdout stays free for results."""

    def __init__(self, quiet: bool = False) -> None:
        # here, as an answer to one line shows no bar, and need not wait for this
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self.console = Console(file=sys.stderr, highlight=False, emoji=False, quiet=quiet)
        self.progress = Progress(
            TextColumn("{task.fields[head]}"),
            BarColumn(bar_width=None),
            TaskProgressColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[tail]}  [dim]{task.fields[left]}"),
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
