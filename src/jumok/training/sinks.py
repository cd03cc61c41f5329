"""Who else is told of a run's validations: TensorBoard, Weights & Biases, MLflow.

``metrics.jsonl`` is the record that counts, and these show it. So where one of them cannot begin,
the run does not begin either, and nothing is lost; but where one fails later (a network, a server),
that costs a line of warning for each failure, and the training goes on.

A run that goes on goes on in their curves, too. The ids that they know it by are kept in the run's
directory, in ``sinks.json``. A validation that a kill made them hear of twice has the same figures
both times.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

from jumok.config import Config, Sink, flatten, shown
from jumok.errors import ConfigError, MissingExtra
from jumok.storage import write_atomic
from jumok.training.progress import Reporter

Record = Mapping[str, Any]
_IDS = "sinks.json"
_T = TypeVar("_T")


def check_sinks(config: Config) -> None:
    """Raise `MissingExtra` where the package of a sink is not installed."""
    for name in config.train.sinks:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise MissingExtra(name, name) from None


class Sinks:
    """All sinks of a run in ``folder``; without a ``config``, none."""

    def __init__(self, config: Config | None, folder: Path, reporter: Reporter) -> None:
        self._config, self._reporter = config, reporter
        self._folder = folder.resolve()  # whose name is the run's, which ``.`` has not
        self._open: dict[Sink, _Open] = {}

    def __enter__(self) -> Sinks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        while self._open:
            name, sink = self._open.popitem()
            self._try(name, sink.close)

    def begin(self, step: int) -> None:
        """Begin, or go on after ``step``. Raises `ConfigError` where one cannot, and then none is
        open."""
        if self._config is None or not self._config.train.sinks:
            return
        path = self._folder / _IDS
        ids = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for name in self._config.train.sinks:
            try:
                known = ids.get(name)
                sink = _apart(partial(_KINDS[name], self._config, self._folder, step, known))
            except Exception as error:  # whatever these packages raise
                self._close()
                raise ConfigError(
                    f"train.sinks has {name}, but that cannot begin ({_told(error)}). Put it "
                    "right, or leave it out"
                ) from error
            self._open[name] = sink
            ids |= {} if sink.id is None else {name: sink.id}
        write_atomic(path, json.dumps(ids) + "\n")

    def hear(self, record: Record) -> None:
        """Tell all of a validation."""
        figures = {
            key: float(value)
            for key, value in record.items()
            if key != "step" and value is not None
        }
        for name, sink in self._open.items():
            self._try(name, partial(sink.write, figures, record["step"]))

    def _try(self, name: Sink, act: Callable[[], None]) -> None:
        try:
            _apart(act)
        except Exception as error:  # nothing of theirs is worth the training
            self._reporter.message(f"warning: {name} failed, and the run goes on: {_told(error)}")


def _apart(act: Callable[[], _T]) -> _T:
    """What these packages print is not among a command's output."""
    with redirect_stdout(sys.stderr):
        return act()


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


class _Open(Protocol):
    """A sink that is told of a run."""

    @property
    def id(self) -> str | None:
        """What it knows the run by."""

    def write(self, figures: Mapping[str, float], step: int) -> None: ...
    def close(self) -> None: ...


class _TensorBoard:
    """Event files in the run's directory. What comes after the step that it goes on from is
    dropped (``purge_step``)."""

    def __init__(self, config: Config, folder: Path, step: int, known: str | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.id = None
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        lines = (f"    {key}={shown(value)}" for key, value in _settings(config).items())
        self._writer.add_text("settings", "\n".join(lines), step)
        self._writer.flush()

    def write(self, figures: Mapping[str, float], step: int) -> None:
        for key, value in figures.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A run of W&B; its own variables (``WANDB_PROJECT``, ``WANDB_MODE``) say where. Steps that it
    has heard of it does not take again."""

    def __init__(self, config: Config, folder: Path, step: int, known: str | None) -> None:
        import wandb

        self._run = wandb.init(dir=str(folder), name=folder.name, id=known, resume="allow")
        self._run.config.update(_settings(config), allow_val_change=True)
        self.id = str(self._run.id)

    def write(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    """A run of MLflow; its own variables (``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME``) say
    where. Its parameters can be set once alone: they are the settings that the run began with."""

    def __init__(self, config: Config, folder: Path, step: int, known: str | None) -> None:
        import mlflow

        self._mlflow = mlflow
        name = None if known else folder.name
        self.id = str(mlflow.start_run(run_id=known, run_name=name).info.run_id)
        if known is None:
            mlflow.log_params(_settings(config))

    def write(self, figures: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(figures), step=step, run_id=self.id)

    def close(self) -> None:
        self._mlflow.end_run()


_KINDS: dict[Sink, Callable[[Config, Path, int, str | None], _Open]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "mlflow": _Mlflow,
}


def _settings(config: Config) -> dict[str, Any]:
    """Every setting by its key."""
    return flatten(config.model_dump(mode="json"))
