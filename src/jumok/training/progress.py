"""What a person sees of a run."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from jumok.progress import Bar
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


class SilentReporter:
    """Says nothing: another process speaks."""

    def __enter__(self) -> SilentReporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def update(self, state: TrainingState, loss: float, tokens_per_second: float) -> None:
        """After an update."""

    def message(self, text: str) -> None:
        """A line that stays."""


class ConsoleReporter(Bar):
    """A bar that tells of a run.

    Args:
        total_steps: the most updates the run can take.
        budget: seconds the run may take, if limited.
        metric: name of the metric that is watched.
        log: file that lines which stay are also written to.
    """

    def __init__(self, total_steps: int, budget: float | None, metric: str, log: Path) -> None:
        super().__init__()
        self.total_steps, self.budget, self.metric, self.log = total_steps, budget, metric, log

    def __enter__(self) -> ConsoleReporter:
        super().__enter__()
        return self

    def update(self, state: TrainingState, loss: float, tokens_per_second: float) -> None:
        """Move the bar; off a terminal, say a line every half minute."""
        done = state.step / self.total_steps
        if self.budget:
            done = max(done, state.seconds / self.budget)
        best = "" if state.best is None else f"best {self.metric} {state.best:.2f}"
        epoch, figures = (
            f"epoch {state.epoch + 1}",
            f"{tokens_per_second:,.0f} tok/s  loss {loss:.3f}",
        )
        self.show(
            done,
            epoch,
            f"{figures} {best}",
            "at most {} left",
            line=f"{epoch}  step {state.step}  {figures}  {best}",
        )

    def message(self, text: str) -> None:
        """Print a line above the bar, and keep it in the log."""
        with storage_errors(self.log), self.log.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        super().message(text)
