"""Where a run stands: counters as JSON, optimizer and random numbers as safetensors.

Both files lie in ``last/`` beside the weights they belong to, written in one piece with them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from jumok.errors import BundleError
from jumok.training.optimizer import optimizer_arrays, restore_optimizer

ARRAYS = "training_state.safetensors"
COUNTERS = "training_state.json"


@dataclass
class TrainingState:
    """Counters of a run. ``epoch`` and ``batch`` point at the next batch to train on."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_loss: float = math.inf
    """Dev loss of the best model: it decides between equal metrics."""
    bad_validations: int = 0
    rate_factor: float = 1.0
    """What schedule `plateau` has made of the learning rate."""
    mean_loss: float = 0.0
    """Moving mean of the updates' losses."""
    mean_tokens: float = 0.0
    """Moving mean of the updates' target tokens."""
    since_loss: float = 0.0
    """Loss of all target tokens since the last validation, summed."""
    since_tokens: int = 0
    since_seconds: float = 0.0
    corpus: str = ""
    """A hash of the pairs: a run goes on with the pairs that it was begun with."""
    order: str = ""
    """The settings that the order of batches follows from."""
    finished: bool = False


def random_numbers(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators, by the kind of device they are for.

    Random numbers are torch's alone: nothing here draws from Python's or NumPy's generators, and
    the order of batches is a function of the seed and the epoch.
    """
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":  # asking for it takes memory there
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def save_state(
    folder: Path,
    state: TrainingState,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    random: Mapping[str, Sequence[Tensor]],
) -> None:
    """Write the state into ``folder``; ``random`` is `random_numbers` of every rank."""
    arrays = {
        f"rng.{kind}.{n}": one for kind, every in random.items() for n, one in enumerate(every)
    }
    arrays |= {k: v.contiguous() for k, v in optimizer_arrays(model, optimizer).items()}
    if average is not None:
        arrays |= {f"average.{k}": v for k, v in average.state_dict().items()}
    raw = save(arrays)
    (folder / ARRAYS).write_bytes(raw)
    counters = {**asdict(state), "sha256": hashlib.sha256(raw).hexdigest()}
    (folder / COUNTERS).write_text(json.dumps(counters, indent=2) + "\n", encoding="utf-8")


def read_state(folder: Path) -> tuple[TrainingState, dict[str, Tensor]]:
    """Counters and arrays, as they lie in ``folder``.

    Raises `BundleError` where the files are missing or damaged.
    """
    try:
        counters = json.loads((folder / COUNTERS).read_text(encoding="utf-8"))
        raw = (folder / ARRAYS).read_bytes()
        if hashlib.sha256(raw).hexdigest() != counters.pop("sha256"):
            raise ValueError(f"{ARRAYS} has changed since it was written")
        return TrainingState(**counters), load(raw)
    except Exception as error:  # whatever damage there is, it is one sentence to the user
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise  # what cannot be read may be whole
        raise BundleError(
            f"{folder} does not hold the state of a run to go on from: {error}"
        ) from None


def load_state(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    device: torch.device,
    rank: int = 0,
) -> TrainingState:
    """Read the state back: counters, optimizer and random numbers.

    A rank or a device that was not there before begins with random numbers of its own.

    Raises `BundleError` where the files are missing or damaged, or are another model's.
    """
    state, arrays = read_state(folder)
    try:
        torch.manual_seed(hash((rank, state.step)))
        if f"rng.cpu.{rank}" in arrays:
            torch.set_rng_state(arrays[f"rng.cpu.{rank}"])
        if device.type == "cuda" and f"rng.cuda.{rank}" in arrays:
            torch.cuda.set_rng_state(arrays[f"rng.cuda.{rank}"], device)
        restore_optimizer(model, optimizer, arrays)
        prefix = "average."
        kept = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        if average is not None and kept:  # a run may begin to average when it goes on
            average.load_state_dict(kept)
    except Exception as error:  # whatever damage there is, it is one sentence to the user
        raise BundleError(
            f"{folder} does not hold the state of a run to go on from: {error}"
        ) from None
    return state
