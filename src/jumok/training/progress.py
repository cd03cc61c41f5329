"""What a person sees of a run: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from jumok.storage import storage_errors
from jumok.training.state import TrainingState


@runtime_checkable
class Reporter(Protocol):
    """Receives the news of a run."""

    def __enter__(self) -> Reporter: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def update(self, state: TrainingState, loss: float, tokens_per_second: float) -> None:
        """After an update."""
        ...

    def message(self, text: str) -> None:
        """A line that stays."""
        ...


class ConsoleReporter:
    """Progress on stderr, so that stdout stays free for results.

    Args:
        total_steps: the most updates the run can take.
        budget: seconds the run may take, if limited.
        metric: name of the metric that is watched.
        log: file that lines which stay are also written to.
    """

    def __init__(self, total_steps: int, budget: float | None, metric: str, log: Path) -> None:
        self.total_steps, self.budget, self.metric, self.log = total_steps, budget, metric, log
        self.console = Console(file=sys.stderr, highlight=False, emoji=False)
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[speed]:>6,.0f} tok/s  loss {task.fields[loss]:.3f}"),
            TextColumn("{task.fields[best]}  [dim]{task.fields[left]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task(
            "train", total=1.0, epoch=1, speed=0.0, loss=0.0, best="", left=""
        )
        self.started = time.monotonic()
        self.spoke = self.started
        self.first: float | None = None

    def __enter__(self) -> ConsoleReporter:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def update(self, state: TrainingState, loss: float, tokens_per_second: float) -> None:
        """Move the bar; off a terminal, say a line every half minute."""
        done = state.step / self.total_steps
        if self.budget:
            done = max(done, state.seconds / self.budget)
        if self.first is None:
            self.first = done  # a resumed run does not start at nothing
        left = self._time_left(done)
        best = "" if state.best is None else f"best {self.metric} {state.best:.2f}"
        self.progress.update(
            self.task,
            completed=done,
            epoch=state.epoch + 1,
            speed=tokens_per_second,
            loss=loss,
            best=best,
            left=left,
        )
        if not self.console.is_terminal and time.monotonic() - self.spoke > 30:
            self.spoke = time.monotonic()
            self.message(
                f"epoch {state.epoch + 1}  step {state.step}  {tokens_per_second:,.0f} tok/s  "
                f"loss {loss:.3f}  {best}  {left}".rstrip()
            )

    def message(self, text: str) -> None:
        """Print a line above the bar, and keep it in the log."""
        with storage_errors(self.log), self.log.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        self.progress.console.print(text, markup=False, emoji=False, soft_wrap=True)

    def _time_left(self, done: float) -> str:
        assert self.first is not None
        gone = time.monotonic() - self.started
        if done <= self.first:
            return ""
        seconds = gone * (1.0 - done) / (done - self.first)
        minutes, rest = divmod(int(max(0.0, seconds)), 60)
        return f"at most {minutes}:{rest:02d} left"
