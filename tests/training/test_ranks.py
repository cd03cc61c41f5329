"""Two processes train as one does; so do two machines, and a run may go on with other numbers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from runs import SIZES, as_options, backwards, letters, records, run_cli, train_small, write_pairs
from safetensors.numpy import load_file

from jumok.errors import ConfigError, Interrupted, StorageError
from jumok.training.ranks import join_ranks
from jumok.training.state import random_numbers

# 144 pairs in batches of 7: the last of each epoch has four, shared two and two, or one and none
SETTINGS = {
    **SIZES,
    "train.batch_size": 7,
    "train.optimizer": "sgd",
    "train.learning_rate": 0.5,
    "train.max_epochs": 2,
    "train.accumulate": 2,
    "train.coverage_loss": 0.1,
    "train.label_smoothing": 0.1,
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def torchrun(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [*TORCHRUN, "--standalone", f"--nproc_per_node={processes}", "-m", "jumok",
               *map(str, arguments)]  # fmt: skip
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, encoding="utf-8", check=False
    )


def pairs_file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_pairs(folder / "pairs.tsv", backwards(letters(160, 2, 5)))


def assert_same_training(run: Path, other: Path) -> None:
    for one, two in zip(records(run), records(other), strict=True):
        for name in ("train_loss", "dev_loss"):
            assert one[name] == pytest.approx(two[name], abs=1e-6), name
        for name in ("step", "epoch", "target_tokens", "exact_match", "token_error"):
            assert one[name] == two[name]
    ours, theirs = (load_file(path / "last" / "model.safetensors") for path in (run, other))
    for name, array in ours.items():
        np.testing.assert_allclose(theirs[name], array, atol=2e-6, err_msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_small(tmp_path_factory.mktemp("alone"), SETTINGS)


def test_two_processes_train_as_one(tmp_path: Path, alone: Path) -> None:
    pairs = pairs_file(tmp_path)
    done = torchrun("train", pairs, *as_options(SETTINGS), "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_training(tmp_path / "run", alone)
    assert done.stderr.count("done after") == 1  # one of them speaks
    # and it goes on with one process as it had gone on with two
    longer = train_small(tmp_path / "longer", {**SETTINGS, "train.max_epochs": 3})
    more = run_cli("train", "--resume", tmp_path / "run", "--set", "train.max_epochs=3")
    assert more.code == 0, more.err
    assert_same_training(tmp_path / "run", longer)


def test_what_nobody_reads_does_not_keep_two_processes_from_training(tmp_path: Path) -> None:
    """Without attention only the encoder's states are read, so its top layer has no norm."""
    settings = {
        **SETTINGS,
        "model.attention.score": "none",
        "model.attention.input_feeding": False,
        "model.encoder.layers": 2,
        "model.encoder.layer_norm": True,
        "train.coverage_loss": 0,
    }
    alone = train_small(tmp_path / "alone", settings)
    pairs = pairs_file(tmp_path)
    done = torchrun("train", pairs, *as_options(settings), "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_training(tmp_path / "run", alone)


def test_two_machines_of_one_process_each_go_on_with_a_run(tmp_path: Path, alone: Path) -> None:
    """As in the guide, with two groups of processes that meet over the loopback."""
    begun = train_small(tmp_path, {**SETTINGS, "train.max_epochs": 1})
    meet = ["--nnodes=2", "--nproc_per_node=1", "--master_addr=127.0.0.1",
            f"--master_port={free_port()}"]  # fmt: skip
    go_on = ["-m", "jumok", "train", "--resume", begun, "--set", "train.max_epochs=2"]
    nodes = [
        subprocess.Popen(
            [*TORCHRUN, *meet, f"--node_rank={rank}", *map(str, go_on)],
            env=environment(), stderr=subprocess.PIPE, text=True, encoding="utf-8",
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [node.communicate(timeout=300)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert_same_training(begun, alone)


def test_each_has_random_numbers_of_its_own_and_a_stopped_run_goes_on_exactly(
    tmp_path: Path,
) -> None:
    settings = {**SETTINGS, "model.decoder.dropout": 0.3, "train.teacher_forcing.rate": 0.7,
                "train.max_epochs": 2}  # fmt: skip
    pairs = pairs_file(tmp_path)
    for name, epochs in (("whole", 2), ("parts", 1)):
        options = as_options({**settings, "train.max_epochs": epochs})
        done = torchrun("train", pairs, *options, "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr[-3000:]
    state = load_file(tmp_path / "whole" / "last" / "training_state.safetensors")
    assert not np.array_equal(state["rng.cpu.0"], state["rng.cpu.1"])
    done = torchrun("train", "--resume", tmp_path / "parts", "--set", "train.max_epochs=2")
    assert done.returncode == 0, done.stderr[-3000:]
    whole, parts = (
        (tmp_path / name / "last" / "model.safetensors").read_bytes() for name in ("whole", "parts")
    )
    assert whole == parts


def test_where_one_cannot_write_the_others_say_so_too(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    begun = train_small(tmp_path, {**SETTINGS, "train.max_epochs": 1})
    command = [sys.executable, "-m", "jumok", "train", "--resume", str(begun), "--set",
               "train.max_epochs=2"]  # fmt: skip
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    both = []
    for rank, disk in ((0, full_disk), (1, nullcontext)):
        with disk():
            both.append(
                subprocess.Popen(
                    command, env={**environment(), **meet, "RANK": str(rank)},
                    stderr=subprocess.PIPE, text=True, encoding="utf-8",
                )
            )  # fmt: skip
    said = [one.communicate(timeout=300)[1] for one in both]
    assert [one.returncode for one in both] == [StorageError.exit_code, Interrupted.exit_code]
    assert "Could not write" in said[0]
    assert said[1].splitlines()[-1].startswith("jumok: Another of the 2 processes has ended")
    assert "Traceback" not in said[0] + said[1]


def test_processes_that_cannot_meet_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    result = run_cli("train", pairs_file(tmp_path), "--output", tmp_path / "run")
    assert result.code == 3
    assert "Start them with torchrun, or unset WORLD_SIZE" in result.err
    monkeypatch.setenv("WORLD_SIZE", "two")
    result = run_cli("train", pairs_file(tmp_path), "--output", tmp_path / "run")
    assert result.code == 3
    assert "WORLD_SIZE is the number of processes, but 'two' came" in result.err
    assert not (tmp_path / "run").exists()


def test_on_gpus_each_has_its_own_and_what_is_told_and_gathered_finds_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Numbers are told where the model is, and random numbers are gathered on the CPU."""
    done: list[object] = []
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("jumok.training.ranks.find_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **_: done.append(backend))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with join_ranks("cuda") as ranks:
        assert (ranks.rank, ranks.world) == (1, 2)
    assert done == [1, "cpu:gloo,cuda:nccl"]
    with pytest.raises(ConfigError, match=r"Set train\.device=cuda$"), join_ranks("cuda:0"):
        pass


def test_random_numbers_are_those_of_the_devices_that_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.tensor([device.index]))
    assert list(random_numbers(torch.device("cpu"))) == ["cpu"]
    assert random_numbers(torch.device("cuda:3"))["cuda"].tolist() == [3]
