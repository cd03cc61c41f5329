"""Several processes that train one model, as `torchrun` starts them; or one alone.

Each has its share of every batch, and gradients are added up over all by torch's
`DistributedDataParallel`. Rank 0 validates, writes and speaks; what it decides all others are told.
What is told is numbers and bytes as they are, never pickle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from jumok.engine.torch_engine import find_device
from jumok.errors import ConfigError, Interrupted

_PATIENCE = timedelta(hours=24)
"""How long the others wait while rank 0 validates or encodes."""


class Ranks:
    """This process among ``world``; ``rank`` counts from 0."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    @property
    def leads(self) -> bool:
        """Whether this process validates, writes and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.world > 1:
            dist.barrier()

    def sums(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Each value added up over all."""
        if self.world == 1:
            return list(values)
        every = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(every)
        return every.tolist()

    def told(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Rank 0's values."""
        if self.world == 1:
            return list(values)
        every = torch.tensor(values, dtype=torch.float64, device=device)
        dist.broadcast(every, src=0)
        return every.tolist()

    def gathered(self, value: Tensor) -> list[Tensor]:
        """Everybody's tensor; all are of one size, and on the CPU."""
        if self.world == 1:
            return [value]
        every = [torch.empty_like(value) for _ in range(self.world)]
        dist.all_gather(every, value)
        return every

    def share(self, rows: int) -> slice:
        """Which of so many rows are this process's."""
        return slice(self.rank, rows, self.world)


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Meet the other processes that `torchrun` has started; alone without it.

    Raises `ConfigError` where they cannot be met, and `Interrupted` where one of them has ended
    while this one has still something to do with it.
    """
    said = os.environ.get("WORLD_SIZE", "1")
    if not said.isdecimal():
        raise ConfigError(
            f"WORLD_SIZE is the number of processes, but '{said}' came. Start them with torchrun, "
            "or unset WORLD_SIZE"
        )
    world = int(said)
    if world == 1:
        yield Ranks()
        return
    on_gpu = device.startswith("cuda")
    if on_gpu and device != "cuda":
        raise ConfigError(
            f"train.device={device} is one GPU, but WORLD_SIZE={world} says that this is one of "
            f"{world} processes, and each needs its own. Set train.device=cuda"
        )
    if on_gpu:
        torch.cuda.set_device(find_device(device_of_rank(device)).index or 0)
    try:  # what is told is on the GPU, what is gathered on the CPU
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"WORLD_SIZE={world} says that this is one of {world} processes, but they cannot meet "
            f"({str(error).splitlines()[0]}). Start them with torchrun, or unset WORLD_SIZE"
        ) from None
    try:
        yield Ranks(dist.get_rank(), world)
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise Interrupted(
            f"Another of the {world} processes has ended, so this one ends too; what the other "
            "says is the reason"
        ) from None
    finally:
        dist.destroy_process_group()


def device_of_rank(device: str) -> str:
    """`cuda` is each process's own GPU on its machine."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if device == "cuda" and local is not None else device
