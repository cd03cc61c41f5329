"""Forward and backward pass on a GPU, recorded once for each shape of batch as a CUDA graph.

A decoder's step is some thirty kernels of a few microseconds, and Python takes longer to launch
them than the GPU to run them. What a graph has recorded is launched in one call: the same kernels
on the same places in memory, into which each batch is copied first.

So that there are few shapes, sizes are rounded up, and batches padded to them, which changes no
result: rows more have one source token and no target token. A shape is run without a graph the
first time, recorded the second, and replayed from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from jumok.data import Batch
from jumok.errors import ConfigError
from jumok.nn.masks import length_mask
from jumok.text import PAD

_MOST = 256
"""Graphs that are kept: each has the descriptions of some thousand kernels in memory."""


class Tensors(NamedTuple):
    """A batch on the model's device."""

    source: Tensor
    lengths: Tensor
    target_in: Tensor
    target_out: Tensor
    mask: Tensor
    copies: Tensor | None


def to_device(batch: Batch, device: torch.device) -> Tensors:
    """The batch, copied."""
    sizes = _Sizes.of(batch)
    return sizes.cut(torch.from_numpy(sizes.joined(batch)).to(device))


Learn = Callable[[Tensors, float | Tensor, float | Tensor | None], Tensor]
"""Adds the gradients of a batch's loss times a weight to the model's, and gives that loss. The
third is the share of target tokens that are given, None where all are."""


class Graphs:
    """Learns from batches as ``learn`` does, for one process.

    Gradients stay where they are: after them, ``zero_grad(set_to_none=False)``.
    """

    def __init__(self, model: nn.Module, learn: Learn) -> None:
        self._learn = learn
        self._device = next(model.parameters()).device
        self._pool = torch.cuda.graph_pool_handle()
        self._seen: dict[tuple[_Sizes, bool], _Graph | None] = {}
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)

    def __call__(self, batch: Batch, weight: float, given: float | None) -> Tensor:
        """The loss, to be read before the next one is asked for."""
        with torch.cuda.device(self._device):
            return self._called(batch, weight, given)

    def _called(self, batch: Batch, weight: float, given: float | None) -> Tensor:
        sizes = _Sizes.of(batch).rounded()
        numbers, key = torch.from_numpy(sizes.joined(batch)), (sizes, given is None)
        graph = self._seen.get(key)
        if graph is None and (key not in self._seen or len(self._seen) > _MOST):
            self._seen[key] = None
            return self._learn(sizes.cut(numbers.to(self._device)), weight, given)
        if graph is None:
            graph = self._seen[key] = _Graph(sizes, given is None, self)
        return graph.replay(numbers, weight, given)


class _Graph:
    """One recorded shape."""

    def __init__(self, sizes: _Sizes, all_given: bool, graphs: Graphs) -> None:
        device = graphs._device
        self._numbers = torch.zeros(sizes.numbers, dtype=torch.int64, device=device)
        self._weight, self._given = torch.zeros(2, device=device).unbind()
        self._graph = torch.cuda.CUDAGraph()
        given = None if all_given else self._given
        try:
            with torch.cuda.graph(self._graph, pool=graphs._pool):
                self._loss = graphs._learn(sizes.cut(self._numbers), self._weight, given)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).strip().split("\n", 1)[0]
            raise ConfigError(
                f"This model's update cannot be recorded as a CUDA graph ({reason}). Train it "
                "without: --set train.fast=false"
            ) from error

    def replay(self, numbers: Tensor, weight: float, given: float | None) -> Tensor:
        self._numbers.copy_(numbers)
        self._weight.fill_(weight)
        if given is not None:
            self._given.fill_(given)
        self._graph.replay()
        return self._loss


class _Sizes(NamedTuple):
    """Of a batch's arrays, which travel as one."""

    rows: int
    src_len: int
    tgt_len: int
    copies: bool

    @classmethod
    def of(cls, batch: Batch) -> _Sizes:
        rows, src_len = batch.source.shape
        return cls(rows, src_len, batch.target_in.shape[1], batch.copies is not None)

    def rounded(self) -> _Sizes:
        return _Sizes(_round(self.rows), _round(self.src_len), _round(self.tgt_len), self.copies)

    @property
    def numbers(self) -> int:
        return self.rows * (2 + self.src_len * (1 + self.copies) + 2 * self.tgt_len)

    def joined(self, batch: Batch) -> Int64[np.ndarray, "numbers"]:
        """All arrays, padded to these sizes, behind one another."""
        rows = len(batch.source)
        lengths = np.zeros((2, self.rows), dtype=np.int64)
        lengths[0] = 1  # every source has a token
        lengths[:, :rows] = batch.source_lengths, batch.target_lengths
        tables = [batch.source, batch.target_in, batch.target_out]
        if batch.copies is not None:
            tables.append(batch.copies)
        widths = [self.src_len, self.tgt_len, self.tgt_len, self.src_len]
        made = [lengths.ravel()]
        for table, width in zip(tables, widths[: len(tables)], strict=True):
            padded = np.full((self.rows, width), PAD, dtype=np.int64)
            padded[:rows, : table.shape[1]] = table
            made.append(padded.ravel())
        return np.concatenate(made)

    def cut(self, numbers: Tensor) -> Tensors:
        """The inverse of `joined`: views."""
        rows, src, tgt = self.rows, self.rows * self.src_len, self.rows * self.tgt_len
        parts = [rows, rows, src, tgt, tgt, *([src] if self.copies else [])]
        lengths, target_lengths, source, target_in, target_out, *copies = torch.split(
            numbers, parts
        )
        target_out = target_out.view(rows, -1)
        return Tensors(
            source.view(rows, -1),
            lengths,
            target_in.view(rows, -1),
            target_out,
            length_mask(target_lengths, target_out.shape[1]),
            copies[0].view(rows, -1) if copies else None,
        )


def _round(size: int) -> int:
    """Up to three binary digits and zeros: by an eighth on average where sizes are large."""
    step = 1 << max(0, size.bit_length() - 3)
    return -(-size // step) * step
