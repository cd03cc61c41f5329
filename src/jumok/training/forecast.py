"""What a training would take: sizes counted, time and memory measured on some of its updates."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jumok.config import Config
from jumok.nn import Seq2Seq
from jumok.training.trainer import Trainer

_WARM, _TIMED = 2, 8
"""Updates before the measurement, and in it."""


@dataclass(frozen=True)
class Forecast:
    """Sizes, and what was measured. Bytes and seconds are those of this machine."""

    parameters: dict[str, int]
    """By part of the model."""
    pairs: int
    target_tokens: int
    """Of an epoch, </s> counted."""
    updates: int
    """The most that the run can take."""
    updates_per_epoch: int
    state_bytes: int
    """Weights, gradients, the optimizer's state and the average."""
    peak_bytes: int | None
    """The most that this process (on a GPU: its memory there) held, after an update on the batch
    that needs most; None where the system does not say."""
    seconds_per_update: float
    """Median of some updates."""
    seconds: float
    """The most that the run can take, without validations."""


def forecast(trainer: Trainer, config: Config) -> Forecast:
    """Train a little, for the measurement alone: the trainer's model is of no use afterwards."""
    train, model = trainer.train, trainer.model
    updates = list(trainer.updates_of_epoch())
    draw = np.random.default_rng(0)
    some = [updates[i] for i in draw.integers(len(updates), size=_WARM + _TIMED)]
    padded = train.source_lengths.astype(np.int64) + train.target_lengths
    largest = max(updates, key=lambda batches: max(len(b) * padded[b].max() for b in batches))
    trainer.update(largest)
    if trainer.graphs is not None:  # until all shapes are recorded
        for batches in 2 * [largest, *some]:
            trainer.update(batches)
    peak = _peak_bytes(trainer.device)
    taken = [_seconds(trainer, batches) for batches in some][_WARM:]
    each = float(np.median(taken))
    whole = each * trainer.total_steps
    if config.train.max_minutes is not None:
        whole = min(whole, 60 * config.train.max_minutes)
    return Forecast(
        _parts(model),
        len(train),
        int(train.target_lengths.sum()),
        trainer.total_steps,
        len(updates),
        _state_bytes(trainer),
        peak,
        each,
        whole,
    )


def _seconds(trainer: Trainer, batches: Sequence[np.ndarray]) -> float:
    began = time.perf_counter()
    trainer.update(batches)
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return time.perf_counter() - began


def _parts(model: Seq2Seq) -> dict[str, int]:
    """Parameters of the encoder, and of each part of the decoder."""
    found: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        found[" ".join(name.split(".")[:2])] += parameter.numel()
    return dict(found)


def _state_bytes(trainer: Trainer) -> int:
    weights = sum(p.numel() * p.element_size() for p in trainer.model.parameters())
    kept = sum(
        value.numel() * value.element_size()
        for state in trainer.optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
    return weights * (2 if trainer.average is None else 3) + kept


def _peak_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
