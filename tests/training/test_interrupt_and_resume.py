"""A run that is stopped goes on as if nothing had been."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import SIZES, as_options, backwards, letters, records, run_cli, train_small, write_pairs

import jumok
from jumok.bundle import read_bundle
from jumok.config import resolve
from jumok.errors import BundleError, ConfigError, DataError, Interrupted
from jumok.evaluation import Validation
from jumok.training.interrupt import StopRequest, listen
from jumok.training.ranks import Ranks
from jumok.training.run import begin
from jumok.training.state import read_state
from jumok.training.trainer import Trainer

# everything that has a state: dropout, coins and draws of scheduled sampling, warm-up, the average,
# a plateau; and a tied table, which is one parameter in two places
SETTINGS: dict[str, Any] = {
    "model.encoder.dropout": 0.3,
    "model.decoder.dropout": 0.3,
    "model.decoder.tied": True,
    "model.decoder.embedding": 32,
    "train.max_epochs": 3,
    "train.validate_every": 5,
    "train.warmup_steps": 4,
    "train.schedule": "plateau",
    "train.average_decay": 0.9,
    "train.teacher_forcing.rate": 0.7,
    "train.teacher_forcing.own": "sample",
    "train.patience": 100,
}


class StopAfter(StopRequest):
    """Somebody who asks to stop after so many updates."""

    def __init__(self, updates):
        self.left = updates

    @property
    def asked(self):
        self.left -= 1
        return self.left == 0


def stop_after(updates):
    """Stands in for `listen`."""

    @contextmanager
    def fake(_answer):
        yield StopAfter(updates)

    return fake


def files(run, *names):
    return {name: (run / name).read_bytes() for name in names}


PARTS = ("best/model.safetensors", "last/model.safetensors", "last/training_state.safetensors")
CLOCKS = ("tokens_per_second", "seconds", "validation_seconds")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("whole"), SETTINGS)


@pytest.mark.parametrize("updates", [1, 5, 9, 14, 26])
def test_resumed_weights_are_those_of_an_uninterrupted_run(
    tmp_path, monkeypatch, uninterrupted, updates
):
    # 144 pairs in batches of 16: 9 updates an epoch, 27 in all
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as caught:
        patch.setattr("jumok.training.run.listen", stop_after(updates))
        train_small(tmp_path, SETTINGS)
    run = tmp_path / "run"
    assert str(caught.value).endswith(f"Go on with: jumok train --resume {run}")
    assert f"Stopped at step {updates};" in str(caught.value)
    jumok.load(run / "last").predict("abc")
    torch.manual_seed(99)  # as in another process: random numbers must come from the checkpoint
    result = run_cli("train", "--resume", run)
    assert result.code == 0, result.err
    assert files(run, *PARTS) == files(uninterrupted, *PARTS)
    assert without_clocks(run) == without_clocks(uninterrupted)


def test_going_on_for_more_epochs_is_a_longer_run(tmp_path, monkeypatch):
    run = train_small(tmp_path, {**SETTINGS, "train.max_epochs": 2, "train.validate_every": 9})
    longer = train_small(tmp_path / "longer", {**SETTINGS, "train.validate_every": 9})
    assert run_cli("train", "--resume", run).code == 0  # already done: nothing happens
    assert len(records(run)) == 2
    # stopped once more: what was changed stays changed
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("jumok.training.run.listen", stop_after(4))
        jumok.resume(run, ["train.max_epochs=3"])
    jumok.resume(run)
    assert files(run, *PARTS) == files(longer, *PARTS)


def test_a_kill_between_records_and_checkpoint_leaves_no_double_records(tmp_path, uninterrupted):
    run = train_small(tmp_path, {**SETTINGS, "train.max_epochs": 2})
    later = {**records(run)[-1], "step": 20}
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(later) + "\n" + '{"step": 25, "epo')
    jumok.resume(run, {"train.max_epochs": 3})
    assert [r["step"] for r in records(run)] == [5, 10, 15, 18, 20, 25, 27]


def test_other_batches_may_follow(tmp_path):
    run = train_small(tmp_path, {"train.batch_size": 8, "train.max_steps": 15})
    jumok.resume(run, {"train.batch_size": 64, "train.max_steps": 20, "train.max_epochs": 99})
    state = json.loads((run / "last" / "training_state.json").read_text(encoding="utf-8"))
    assert state["step"] == 20
    jumok.resume(run, {"train.average_decay": 0.5, "train.max_steps": 22})
    assert records(run)[-1]["step"] == 22


def test_a_limit_that_is_passed_at_once_leaves_nothing_undone(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("jumok.training.run.listen", stop_after(4))
        train_small(tmp_path, SETTINGS)
    run = tmp_path / "run"
    assert not (run / "best").exists() and not (run / "metrics.jsonl").exists()
    jumok.resume(run, {"train.max_steps": 3})
    assert [r["step"] for r in records(run)] == [4]
    state, _ = read_state(run / "last")
    assert state.finished and state.best == records(run)[0]["exact_match"]
    best = files(run, "best/model.safetensors")
    assert run_cli("train", "--resume", run).code == 0
    assert files(run, "best/model.safetensors") == best and len(records(run)) == 1


def test_what_is_left_out_of_an_epoch_is_told(tmp_path):
    settings = {"train.batch_tokens": 40, "train.max_epochs": 2}
    whole = train_small(tmp_path / "whole", settings)
    run = train_small(tmp_path, {**settings, "train.max_steps": 5})
    unlimited = ["--set", "train.max_steps=null"]
    # where batches are made by tokens, this is not what they follow from
    same = run_cli("train", "--resume", run, *unlimited, "--set", "train.batch_size=3")
    assert same.code == 0 and "left out" not in same.err
    assert [r["epoch"] for r in records(run)][1:] == [1, 2]
    assert records(run)[-1]["step"] == records(whole)[-1]["step"]
    run = train_small(tmp_path / "other", {**settings, "train.max_steps": 5})
    other = run_cli("train", "--resume", run, *unlimited, "--set", "train.batch_tokens=50")
    assert other.code == 0 and "what was left of epoch 1 is left out" in other.err
    assert [r["epoch"] for r in records(run)][1:] == [2]


def test_what_a_plateau_made_of_the_rate_ends_with_it(tmp_path):
    run = train_small(tmp_path, {"train.schedule": "plateau", "train.max_epochs": 1})
    path = run / "last" / "training_state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**state, "rate_factor": 0.25}), encoding="utf-8")
    jumok.resume(run, {"train.max_epochs": 2})
    assert records(run)[-1]["learning_rate"] == pytest.approx(0.0025)
    jumok.resume(run, {"train.max_epochs": 3, "train.schedule": "constant"})
    assert records(run)[-1]["learning_rate"] == pytest.approx(0.01)


def test_only_training_settings_may_change(tmp_path, uninterrupted):
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    before = files(run, *PARTS, "config.yaml")
    for setting in ("model.encoder.hidden=8", "data.dev_seed=2", "text.source.kind=word"):
        with pytest.raises(ConfigError, match=rf"train\.\*.*but {setting.split('=')[0]} came"):
            jumok.resume(run, [setting])
    with pytest.raises(
        ConfigError, match=r"^train\.validate_pairs decides on what a run is judged"
    ):
        jumok.resume(run, {"train.validate_pairs": 3})
    with pytest.raises(ConfigError, match=r"Did you mean 'train\.max_epochs'"):
        jumok.resume(run, ["train.max_epoch=3"])
    assert files(run, *PARTS, "config.yaml") == before


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (lambda run: [shutil.rmtree(run / name) for name in CHECKPOINTS], ConfigError,
         "before its first checkpoint"),
        (lambda run: (run / "config.yaml").unlink(), ConfigError, "no config.yaml"),
        (lambda run: (run / "config.yaml").write_text("{"), ConfigError, "not readable YAML"),
        (lambda run: (run / "config.yaml").write_bytes(b"\xff"), ConfigError, "not readable YAML"),
        (lambda run: (run / "config.yaml").write_text("1"), ConfigError, "sections of settings"),
        (lambda run: tear(run, CHECKPOINTS, "training_state.json"), BundleError, "go on"),
        (lambda run: tear(run, CHECKPOINTS, "training_state.safetensors"), BundleError, "go on"),
        (lambda run: tear(run, CHECKPOINTS, "model.safetensors"), BundleError, "SHA-256"),
    ],
)  # fmt: skip
def test_a_damaged_run_is_a_sentence_and_keeps_its_best(
    tmp_path, uninterrupted, damage, error, words
):
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    damage(run)
    result = run_cli("train", "--resume", run, "--set", "train.max_epochs=4")
    assert result.code == error.exit_code
    assert words in result.err
    assert "Traceback" not in result.err
    assert files(run, PARTS[0]) == files(uninterrupted, PARTS[0])


CHECKPOINTS = ("last", ".last.old")


def tear(run, checkpoints, name):
    """Only the first half of a file has reached the disk."""
    for checkpoint in checkpoints:
        path = run / checkpoint / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "training_state.json",
             "training_state.safetensors", "target.tokenizer.json"]
)  # fmt: skip
def test_behind_a_torn_checkpoint_stands_the_one_before(tmp_path, monkeypatch, uninterrupted, name):
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("jumok.training.run.listen", stop_after(12))
        train_small(tmp_path, SETTINGS)
    run = tmp_path / "run"
    tear(run, ["last"], name)
    result = run_cli("train", "--resume", run)
    assert result.code == 0, result.err
    assert str(run / "last") in result.err
    assert "the checkpoint before that one is intact: step 10" in result.err
    assert files(run, *PARTS) == files(uninterrupted, *PARTS)


def test_the_one_before_takes_the_place_of_a_torn_checkpoint_at_once(
    tmp_path, monkeypatch, uninterrupted
):
    """Else the next checkpoint would drop it for the torn one, and a kill then leave that alone."""
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    tear(run, ["last"], "training_state.json")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("jumok.training.trainer.Trainer.fit", interrupt)
        jumok.resume(run)
    assert read_state(run / "last")[0].step == 25
    # a disk that does not answer is no damage
    (run / "last" / "training_state.json").unlink()
    with pytest.raises(BundleError, match="training_state"):
        read_state(run / "last")
    (run / "last" / "training_state.json").mkdir()
    with pytest.raises(IsADirectoryError):
        read_state(run / "last")


@pytest.mark.parametrize("goes_on", [True, False])
def test_two_processes_do_not_train_in_one_directory(tmp_path, monkeypatch, goes_on):
    run, told, fit = tmp_path / "run", [], Trainer.fit
    if goes_on:
        train_small(tmp_path)

    def asked(trainer):
        with pytest.raises(ConfigError) as refused:
            if goes_on:
                jumok.resume(run)
            else:  # the directory was empty when the other began
                pairs = [str(tmp_path / "pairs.tsv")]
                begin(resolve(settings={**SIZES, "data.train": pairs}), run, None, Ranks())
        told.append(str(refused.value))
        return fit(trainer)

    monkeypatch.setattr(Trainer, "fit", asked)
    if goes_on:
        jumok.resume(run, {"train.max_epochs": 3})
    else:
        train_small(tmp_path)
    assert told == [
        f"Another process trains in {run}. Wait until it has ended, or give another --output"
    ]
    assert not (run / ".lock").exists()
    assert [r["epoch"] for r in records(run)] == ([1, 2, 3] if goes_on else [1, 2])


def test_a_lock_that_a_kill_left_makes_no_directory_full(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    run = train_small(tmp_path)
    assert not (run / ".lock").exists() and (run / "best").exists()


def interrupt(_trainer):
    raise KeyboardInterrupt


KILLS = 20
KILLED = f"""
import os, random, signal, sys, time
import jumok, jumok.training.run  # once, so that each attempt begins at once

pairs, run, settings = sys.argv[1], sys.argv[2], dict(a.split("=") for a in sys.argv[3:])
draw, kills, goes_on = random.Random(5), 0, False
while kills < {KILLS} or not goes_on:
    child = os.fork()
    if not child:
        if os.path.exists(os.path.join(run, "config.yaml")) and any(
            os.path.exists(os.path.join(run, name)) for name in ("last", ".last.old")
        ):
            jumok.resume(run)
        else:
            import shutil
            shutil.rmtree(run, ignore_errors=True)
            jumok.train(pairs, output=run, settings=settings)
        os._exit(0)
    if kills < {KILLS}:
        time.sleep(draw.uniform(0.05, 0.6))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        kills += 1
    else:
        assert os.waitstatus_to_exitcode(status) == 0
        goes_on = kills == {KILLS}
        assert goes_on, f"the run was finished after {{kills}} kills"
"""


def test_twenty_kills_at_any_moment_change_no_bit(tmp_path):
    settings = {**SIZES, **SETTINGS, "train.max_epochs": 60, "train.validate_every": 31,
                "train.accumulate": 2}  # fmt: skip
    whole = train_small(tmp_path / "whole", settings)
    torn = {**settings, "train.checkpoint_minutes": 1e-4}
    run = tmp_path / "killed"
    pairs = whole.parent / "pairs.tsv"
    command = [sys.executable, "-c", KILLED, pairs, run, *(f"{k}={v}" for k, v in torn.items())]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert files(run, *PARTS[:2]) == files(whole, *PARTS[:2])
    assert without_clocks(run) == without_clocks(whole)


def without_clocks(run):
    return [{k: v for k, v in r.items() if k not in CLOCKS} for r in records(run)]


def test_resume_finds_what_a_kill_left_aside(tmp_path, uninterrupted):
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    shutil.rmtree(run / ".last.old")
    (run / "last").rename(run / ".last.old")
    (run / "best").rename(run / ".best.old")
    assert jumok.load(run).predict("abc").text == jumok.load(uninterrupted).predict("abc").text
    jumok.resume(run, {"train.max_epochs": 4})
    assert {p.name for p in run.iterdir()} >= {"last"}
    read_bundle(run / "last")
    read_bundle(run)


def test_one_signal_asks_and_the_second_insists():
    heard: list[str] = []
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with listen(lambda: heard.append("asked")) as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.asked
        assert heard == ["asked"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_ctrl_c_in_a_real_process(tmp_path):
    write_pairs(tmp_path / "p.tsv", backwards(letters(160, 2, 5)))
    settings = {**SIZES, "train.max_epochs": 10**6, "train.patience": 10**6}
    command = [sys.executable, "-m", "jumok", "train", tmp_path / "p.tsv", *as_options(settings),
               "--output", tmp_path / "run"]  # fmt: skip
    run = tmp_path / "run"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while not (run / "best" / "config.json").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in err
    assert "stopping as soon as all is kept" in err.decode()
    last = err.decode().splitlines()[-1]
    assert last.startswith("jumok: Stopped at step ")
    assert last.endswith(f"Go on with: jumok train --resume {run}")
    jumok.load(run / "last").predict("abc")
    state = json.loads((run / "last" / "training_state.json").read_text(encoding="utf-8"))
    assert f"step {state['step']};" in last
    result = run_cli("train", "--resume", run, "--set", f"train.max_epochs={state['epoch'] + 1}")
    assert result.code == 0, result.err
    assert "done after" in result.err


def test_a_run_does_not_go_on_with_other_pairs(tmp_path):
    run = train_small(tmp_path, {"train.max_epochs": 1})
    before = (run / "config.yaml").read_bytes()
    with (tmp_path / "pairs.tsv").open("a", encoding="utf-8") as file:
        file.write("abcab\t나가다나가\n")
    result = run_cli("train", "--resume", run, "--set", "train.max_epochs=2")
    assert result.code == DataError.exit_code
    assert "not those that this run was begun with" in result.err
    assert (run / "config.yaml").read_bytes() == before


def test_a_run_goes_on_from_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_small(Path(), {"train.max_epochs": 1, "data.cache": "ids"})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = run_cli("train", "--resume", tmp_path / "run", "--set", "train.max_epochs=2")
    assert result.code == 0, result.err
    assert not any((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("validations", [0, 1], ids=["before the first checkpoint", "after it"])
def test_insisting_stops_at_once_and_says_how_to_go_on(tmp_path, monkeypatch, validations):
    seen: list[float] = []

    def measure(*_):
        if len(seen) == validations:
            raise KeyboardInterrupt  # as the second signal does, in the middle of a validation
        seen.append(0.0)
        return Validation(0.0, 0.0)

    monkeypatch.setattr("jumok.training.run.validate", measure)
    with pytest.raises(Interrupted) as caught:
        train_small(tmp_path, {"train.max_epochs": 5})
    if not validations:
        assert "nothing is kept" in str(caught.value)
        return
    monkeypatch.undo()
    assert str(caught.value).endswith(f"jumok train --resume {tmp_path / 'run'}")
    jumok.resume(tmp_path / "run")
    assert [r["epoch"] for r in records(tmp_path / "run")] == [1, 2, 3, 4, 5]
