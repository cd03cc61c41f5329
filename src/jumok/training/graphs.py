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
"""Adds the gradients of a batch's loss times a weight to the model's, and gives that product. The
third is the share of target tokens that are given, None where all are."""


class Graphs:
    """Learns from batches, for one process.

    Gradients stay where they are: after them, ``zero_grad(set_to_none=False)``.

    Args:
        model: on its GPU.
        batch_size: rows of a usual batch, which are not rounded.
        tell: told where memory is too small for graphs.
    """

    def __init__(self, model: nn.Module, batch_size: int, tell: Callable[[str], None]) -> None:
        self._device, self._rows = next(model.parameters()).device, batch_size
        self._tell, self._most = tell, _MOST
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._seen: dict[tuple[_Sizes, bool], _Graph | None] = {}
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)

    @property
    def recorded(self) -> int:
        """How many graphs there are."""
        return sum(graph is not None for graph in self._seen.values())

    def __call__(self, learn: Learn, batch: Batch, weight: float, given: float | None) -> Tensor:
        """What ``learn`` gives for the batch: always the same function of the same model."""
        sizes = _Sizes.of(batch).rounded(self._rows)
        numbers, key = torch.from_numpy(sizes.joined(batch)), (sizes, given is None)
        with torch.cuda.device(self._device):
            graph = self._seen.get(key)
            if graph is None and key in self._seen and self.recorded < self._most:
                graph = self._record(learn, sizes, given is None)
            self._seen[key] = graph
            if graph is None:
                return learn(sizes.cut(numbers.to(self._device)), weight, given)
            return graph.replay(numbers, weight, given)

    def _record(self, learn: Learn, sizes: _Sizes, all_given: bool) -> _Graph | None:
        """The graph of one shape; None where there is no memory for it."""
        graph = torch.cuda.CUDAGraph()
        numbers = torch.zeros(sizes.numbers, dtype=torch.int64, device=self._device)
        weight, given = torch.zeros(2, device=self._device).unbind()
        try:
            with (
                torch.cuda.stream(torch.cuda.current_stream()),  # to which a failure comes back
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream),
            ):
                product = learn(sizes.cut(numbers), weight, None if all_given else given)
        except RuntimeError as error:
            reason = str(error).strip().split("\n", 1)[0]
            if "out of memory" not in str(error):
                raise ConfigError(
                    f"This model's update cannot be recorded as a CUDA graph ({reason}). Train "
                    "without, and go on with a run that has begun: --set train.fast=false"
                ) from error
            self._seen.clear()
            self._most = 0
            torch.cuda.empty_cache()
            self._tell(f"There is no memory for CUDA graphs; updates go on without ({reason})")
            return None
        return _Graph(graph, numbers, weight, given, product)


class _Graph(NamedTuple):
    """One recorded shape: from where it reads, and where it writes."""

    graph: torch.cuda.CUDAGraph
    numbers: Tensor
    weight: Tensor
    given: Tensor
    product: Tensor

    def replay(self, numbers: Tensor, weight: float, given: float | None) -> Tensor:
        self.numbers.copy_(numbers)
        self.weight.fill_(weight)
        if given is not None:
            self.given.fill_(given)
        self.graph.replay()
        return self.product.clone()


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

    def rounded(self, usual: int) -> _Sizes:
        """``usual`` is a number of rows that is left as it is."""
        rows = self.rows if self.rows == usual else _round(self.rows)
        return _Sizes(rows, _round(self.src_len), _round(self.tgt_len), self.copies)

    @property
    def numbers(self) -> int:
        return self.rows * (2 + self.src_len * (1 + self.copies) + 2 * self.tgt_len)

    def joined(self, batch: Batch) -> Int64[np.ndarray, "numbers"]:
        """All arrays, padded to these sizes, behind one another."""
        rows = len(batch.source)
        lengths = np.zeros((2, self.rows), dtype=np.int64)
        lengths[0] = 1  # every source has a token
        lengths[:, :rows] = batch.source_lengths, batch.target_lengths
        tables = [(batch.source, self.src_len)]
        tables += [(batch.target_in, self.tgt_len), (batch.target_out, self.tgt_len)]
        if batch.copies is not None:
            tables.append((batch.copies, self.src_len))
        made = [lengths.ravel()]
        for table, width in tables:
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
    """Up to three binary digits and zeros: by a tenth on average."""
    step = 1 << max(0, size.bit_length() - 3)
    return -(-size // step) * step
