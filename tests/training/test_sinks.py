"""Validations are told to others, once each, whatever happens to the run or to them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from runs import SIZES, as_options, backwards, letters, records, run_cli, train_small, write_pairs
from test_interrupt_and_resume import SETTINGS, stop_after
from test_ranks import torchrun

import jumok
from jumok.config import resolve
from jumok.errors import ConfigError, Interrupted, MissingExtra
from jumok.training.progress import SilentReporter
from jumok.training.sinks import Sinks
from jumok.training.trainer import Trainer

Call = tuple[str, Any]


class Recorder(ModuleType):
    """Stands in for a package, and notes how it is called."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[Call] = []
        self.refuses: set[str] = set()

    def note(self, what: str, *told: Any) -> None:
        print(f"{self.__name__} has done {what}")
        self.calls.append((what, told[0] if len(told) == 1 else told))
        if what in self.refuses:
            raise ConnectionError("no route\nto host")

    def told(self, what: str) -> list[Any]:
        return [told for name, told in self.calls if name == what]


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """As https://docs.wandb.ai has it: a run is resumed by its id, steps only rise."""
    module = Recorder("wandb")

    def init(**given: Any) -> SimpleNamespace:
        module.note("init", given)
        known = given["id"] or f"run{len(module.told('init'))}"

        def update(settings: dict[str, Any], allow_val_change: bool) -> None:
            module.note("config", settings)
            assert allow_val_change

        return SimpleNamespace(
            id=known,
            config=SimpleNamespace(update=update),
            log=lambda figures, step: module.note("log", step, figures),
            finish=lambda: module.note("finish"),
        )

    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """As https://mlflow.org has it: one run is active, parameters cannot change."""
    module = Recorder("mlflow")
    params: dict[str, dict[str, Any]] = {}
    active: list[str] = []

    def start_run(run_id: str | None, run_name: str | None) -> SimpleNamespace:
        module.note("start_run", run_id, run_name)
        assert not active and (run_id is None or run_id in params)
        active.append(run_id or f"id{len(params)}")
        params.setdefault(active[0], {})
        return SimpleNamespace(info=SimpleNamespace(run_id=active[0]))

    def log_params(given: dict[str, Any]) -> None:
        module.note("log_params", given)
        for key, value in given.items():
            assert params[active[0]].setdefault(key, value) == value

    def log_metrics(figures: dict[str, float], step: int, run_id: str) -> None:
        assert run_id == active[0]
        module.note("log_metrics", step, figures)

    def end_run() -> None:
        module.note("end_run")
        active.pop()

    for call in (start_run, log_params, log_metrics, end_run):
        setattr(module, call.__name__, call)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


def figures(record: dict[str, Any]) -> dict[str, float]:
    """What others hear of a validation: every number but the step."""
    return {k: float(v) for k, v in record.items() if k != "step" and v is not None}


def events(run: Path) -> Any:
    """TensorBoard's own reader."""
    module = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs TensorBoard: pip install 'jumok[tensorboard]'",
    )
    found = module.EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return found


def assert_curves(run: Path) -> None:
    """TensorBoard shows what metrics.jsonl says: each validation once."""
    found = events(run)
    told = [(record["step"], figures(record)) for record in records(run)]
    for tag in told[0][1]:
        shown = [(one.step, one.value) for one in found.Scalars(tag)]
        assert [step for step, _ in shown] == [step for step, _ in told], tag
        for (_, value), (_, expected) in zip(shown, told, strict=True):
            assert value == pytest.approx(expected[tag], rel=1e-6), tag
    assert set(found.Tags()["scalars"]) == set(told[0][1])


def kill_before_checkpoint(patch: pytest.MonkeyPatch, step: int) -> None:
    """A run ends after it told of a validation, and before that is safe."""
    keep = Trainer.checkpoint

    def checkpoint(self: Trainer) -> None:
        if self.state.step == step:
            raise KeyboardInterrupt
        keep(self)

    patch.setattr(Trainer, "checkpoint", checkpoint)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody else hears of."""
    return train_small(tmp_path_factory.mktemp("alone"), SETTINGS)


def test_curves_go_on_where_a_killed_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wandb: Recorder, mlflow: Recorder, alone: Path
) -> None:
    pytest.importorskip("tensorboard", reason="needs pip install 'jumok[tensorboard]'")
    every = {**SETTINGS, "train.sinks": ["tensorboard", "wandb", "mlflow"]}
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        kill_before_checkpoint(patch, 15)
        train_small(tmp_path, every)
    run = tmp_path / "run"
    assert [one.step for one in events(run).Scalars("dev_loss")] == [5, 10, 15]
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("jumok.training.run.listen", stop_after(6))
        jumok.resume(run)
    jumok.resume(run, {"train.patience": 99})

    assert_curves(run)
    [text] = {one.tensor_proto.string_val[0] for one in events(run).Tensors("settings/text_summary")
              if one.step == 0}  # fmt: skip
    assert b"    train.warmup_steps=4\n" in text
    # each was told of step 15 twice: W&B keeps the first, MLflow both, and both times say the same
    steps = [5, 10, 15, 15, 20, 25, 27]
    logged = [*zip(wandb.told("log"), mlflow.told("log_metrics"), strict=True)]
    clocks = {"tokens_per_second", "seconds", "validation_seconds"}
    for step, (one, other) in zip(steps, logged, strict=True):
        assert one == other
        [record] = [figures(record) for record in records(run) if record["step"] == step]
        assert one[0] == step
        assert {k: v for k, v in one[1].items() if k not in clocks} == {
            k: v for k, v in record.items() if k not in clocks
        }
    # the runs are those that were begun
    assert [given["id"] for given in wandb.told("init")] == [None, "run1", "run1"]
    assert {given["resume"] for given in wandb.told("init")} == {"allow"}
    assert {given["dir"] for given in wandb.told("init")} == {str(run)}
    assert mlflow.told("start_run") == [(None, "run"), ("id0", None), ("id0", None)]
    assert len(wandb.told("finish")) == len(mlflow.told("end_run")) == 3
    # with every setting; MLflow's cannot change
    assert [given["train.patience"] for given in wandb.told("config")] == [100, 100, 99]
    [params] = mlflow.told("log_params")
    assert params["model.encoder.dropout"] == 0.3 and params["train.max_steps"] is None
    # and what the run learnt is what it learns by itself
    for name in ("best", "last"):
        path = f"{name}/model.safetensors"
        assert (run / path).read_bytes() == (alone / path).read_bytes()


def test_one_that_fails_costs_a_line_and_not_the_run(
    tmp_path: Path,
    wandb: Recorder,
    mlflow: Recorder,
    alone: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wandb.refuses = {"log", "finish"}
    run = train_small(tmp_path, {**SETTINGS, "train.sinks": ["wandb", "mlflow"]})
    log = (run / "train.log").read_text(encoding="utf-8").splitlines()
    warnings = [line for line in log if line.startswith("warning: ")]
    assert warnings == 7 * [
        "warning: wandb failed, and the run goes on: ConnectionError: no route to host"
    ]
    assert len(mlflow.told("log_metrics")) == len(records(run)) == 6
    said = capsys.readouterr()
    assert said.out == "" and "mlflow has done end_run" in said.err
    assert (run / "best/model.safetensors").read_bytes() == (
        alone / "best/model.safetensors"
    ).read_bytes()


def test_a_run_has_the_name_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wandb: Recorder, mlflow: Recorder
) -> None:
    config = resolve(settings={"train.sinks": ["wandb", "mlflow"]})
    monkeypatch.chdir(tmp_path)
    with Sinks(config, Path(), SilentReporter()) as sinks:
        sinks.begin(0)
    assert wandb.told("init")[0]["name"] == mlflow.told("start_run")[0][1] == tmp_path.name


def test_one_that_cannot_begin_stops_the_run_before_it_begins(
    tmp_path: Path, mlflow: Recorder
) -> None:
    mlflow.refuses = {"start_run"}
    with pytest.raises(ConfigError, match=r"mlflow, but that cannot begin \(ConnectionError: no "):
        train_small(tmp_path, {"train.sinks": "mlflow"})
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_what_others_began_does_not_stand_in_the_way_of_another_attempt(
    tmp_path: Path, mlflow: Recorder
) -> None:
    pytest.importorskip("tensorboard", reason="needs pip install 'jumok[tensorboard]'")
    mlflow.refuses = {"start_run"}
    with pytest.raises(ConfigError, match="mlflow, but that cannot begin"):
        train_small(tmp_path, {"train.sinks": ["tensorboard", "mlflow"], "train.max_steps": 2})
    assert list((tmp_path / "run").iterdir()) == []
    run = train_small(tmp_path, {"train.sinks": ["tensorboard"], "train.max_steps": 2})
    assert_curves(run)
    # of a run that goes on nothing is removed
    with pytest.raises(ConfigError, match="mlflow, but that cannot begin"):
        jumok.resume(run, {"train.sinks": ["tensorboard", "mlflow"]})
    assert_curves(run)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: Path, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'jumok\[{name}\]'"):
        train_small(tmp_path, {"train.sinks": name})
    assert not (tmp_path / "run").exists()
    sink = f"train.sinks={name}"
    result = run_cli("train", tmp_path / "pairs.tsv", "--set", sink, "--dry-run")
    assert result.code == MissingExtra.exit_code
    before = (alone / "config.yaml").read_bytes()
    result = run_cli("train", "--resume", alone, "--set", sink)
    assert result.code == MissingExtra.exit_code
    assert (alone / "config.yaml").read_bytes() == before


def test_what_is_no_sink_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"one of tensorboard, wandb, mlflow, but 'wandv' came"):
        jumok.train("pairs.tsv", output="run", settings=["train.sinks=wandv"])
    with pytest.raises(ConfigError, match=r"has wandb twice\. Leave one out"):
        jumok.train("pairs.tsv", output="run", settings={"train.sinks": ["wandb", "wandb"]})


def test_of_two_processes_one_tells_and_keeps(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs pip install 'jumok[tensorboard]'")
    pairs = write_pairs(tmp_path / "pairs.tsv", backwards(letters(40, 2, 5)))
    settings = {**SIZES, "train.max_steps": 3, "train.validate_every": 1,
                "train.sinks": "tensorboard", "train.keep_checkpoints": 2}  # fmt: skip
    done = torchrun("train", pairs, *as_options(settings), "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1
    assert_curves(tmp_path / "run")
    kept = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {"step-2", "step-3"}
    assert json.loads((tmp_path / "run" / "sinks.json").read_text(encoding="utf-8")) == {}
