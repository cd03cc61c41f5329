"""Products of every step of a loop with one matrix, whose gradient is made once.

    y[t] = x[t] M + g[t]                                          of a batch of matrices, each

Autograd would make a gradient of M's size at every step, and add it to the last one. For a weight
that is a thin product and twice M through memory; for the keys and values of a long source it was
most of an update. What a step has to leave behind is x[t] and dy[t]:

    dx[t] = dy[t] M^T        dg[t] = dy[t]        dM = sum_t x[t]^T dy[t] = [x[0]; x[1]; ..]^T dy

First derivatives only.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from jumok.nn.arithmetic import type_of_products


class Shared:
    """The matrix M. Called with x[0], x[1], .. in turn, it gives y[0], y[1], ..

    ``added`` is g, and says how many steps there are. Under autocast, products are in its type.
    """

    def __init__(
        self,
        matrix: Float[Tensor, "*batch inner columns"],
        added: Float[Tensor, "steps *batch rows columns"],
    ) -> None:
        dtype = type_of_products(matrix)
        self._read: list[Tensor] = []
        self._matrix = matrix.detach().to(dtype)
        self._turned = self._matrix.transpose(-1, -2)
        if matrix.dim() > 2:  # a thin product with a turned matrix takes twice the time
            self._matrix, self._turned = self._matrix.contiguous(), self._turned.contiguous()
        self._added = _AtOnce.apply(added.to(dtype), matrix, self._read).unbind(0)  # type: ignore[no-untyped-call]

    def __call__(
        self, x: Float[Tensor, "*batch rows inner"]
    ) -> Float[Tensor, "*batch rows columns"]:
        """The next step's product."""
        x = x.to(self._matrix.dtype)
        y: Tensor = _Step.apply(x, self._matrix, self._turned, self._added[len(self._read)])  # type: ignore[no-untyped-call]
        self._read.append(x.detach())
        return y


class _AtOnce(torch.autograd.Function):
    """Hands g on. Its gradient is that of y, and comes when the last step's is there."""

    @staticmethod
    def forward(ctx: Any, added: Tensor, matrix: Tensor, read: list[Tensor]) -> Tensor:
        ctx.read, ctx.dtype = read, matrix.dtype
        return added.view_as(added)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[1]:
            return dy, None, None
        rows = dy.movedim(0, -3).flatten(-3, -2)
        d_matrix = torch.cat(ctx.read, dim=-2).transpose(-1, -2) @ rows
        return dy, d_matrix.to(ctx.dtype), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, turned: Tensor, added: Tensor) -> Tensor:
        ctx.save_for_backward(turned)
        return x @ matrix + added

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (turned,) = ctx.saved_tensors
        return dy @ turned, None, None, dy
