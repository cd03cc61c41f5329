"""Products of every step of a loop with one matrix, whose gradient is made once.

    y[t] = x[t] M + g[t]          or, with a batch of matrices, this for each of them

Autograd would make a gradient of M's size at every step, and add it to the last one: for a weight
a thin product and M through memory, for keys and values more than all products of a step where the
source is long. What a step has to leave behind is x[t] and dy[t]:

    dx[t] = dy[t] M^T        dg[t] = dy[t]        dM = sum_t x[t]^T dy[t] = [x[0]; x[1]; ..]^T dy

First derivatives only. Memory: x and dy of all steps, and keys and values once more.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from jumok.nn.arithmetic import type_of_products
from jumok.nn.derivatives import first_derivative_only


class Shared:
    """The matrix M. Called with x[0], x[1], .. in turn, it gives y[0], y[1], ..

    ``added`` is g, for as many steps as there may be; where ``adds`` is False it is zeros. Under
    autocast, products are in its type, and so are g and the sum with it.
    """

    def __init__(
        self,
        matrix: Float[Tensor, "*batch inner columns"],
        added: Float[Tensor, "steps *batch rows columns"],
        adds: bool = True,
    ) -> None:
        self._adds = adds
        dtype = type_of_products(matrix)
        self._read: dict[int, Tensor] = {}
        self._step = 0
        self._matrix = matrix.detach().to(dtype)
        self._turned = self._matrix.transpose(-1, -2)
        if matrix.dim() > 2:  # a thin product with a turned matrix takes twice the time
            self._matrix, self._turned = self._matrix.contiguous(), self._turned.contiguous()
        self._added = _AtOnce.apply(added.to(dtype), matrix, self._read).unbind(0)  # type: ignore[no-untyped-call]

    def __call__(
        self, x: Float[Tensor, "*batch rows inner"]
    ) -> Float[Tensor, "*batch rows columns"]:
        """The next step's y."""
        return self._next(x, self._adds)[0]

    def apart(
        self, x: Float[Tensor, "*batch rows inner"]
    ) -> tuple[Float[Tensor, "*batch rows columns"], Float[Tensor, "*batch rows columns"]]:
        """The next step's product, and its g. Their gradients must be the same: whoever takes them
        adds them up."""
        return self._next(x, False)

    def _next(self, x: Tensor, adds: bool) -> tuple[Tensor, Tensor]:
        x, added = x.to(self._matrix.dtype), self._added[self._step]
        hand = adds or not self._adds
        y: Tensor = _Step.apply(  # type: ignore[no-untyped-call]
            x, self._matrix, self._turned, added, self._read, self._step, adds, hand
        )
        self._step += 1
        return y, added


class _AtOnce(torch.autograd.Function):
    """Hands g on. Its gradient is dy of all steps, and comes when all of them have left their x in
    ``read``; a step that the result does not depend on leaves none, and its dy is zeros."""

    @staticmethod
    def forward(ctx: Any, added: Tensor, matrix: Tensor, read: dict[int, Tensor]) -> Tensor:
        ctx.read, ctx.dtype = read, matrix.dtype
        ctx.turned = matrix.stride(-2) < matrix.stride(-1)
        return added.view_as(added)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        steps, d_matrix = sorted(ctx.read), None
        if ctx.needs_input_grad[1]:
            left = dy if len(steps) == len(dy) else dy[steps]
            rows = left.movedim(0, -3).flatten(-3, -2)
            read = torch.cat([ctx.read[step] for step in steps], dim=-2)
            if ctx.turned:  # its gradient lies in memory as it does
                d_matrix = (rows.transpose(-1, -2) @ read).transpose(-1, -2)
            else:
                d_matrix = read.transpose(-1, -2) @ rows
            d_matrix = d_matrix.to(ctx.dtype)
        ctx.read.clear()
        return dy, d_matrix, None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        matrix: Tensor,
        turned: Tensor,
        added: Tensor,
        read: dict[int, Tensor],
        step: int,
        adds: bool,
        hand: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, turned)
        ctx.read, ctx.step, ctx.hand = read, step, hand
        product = x @ matrix
        return product + added if adds else product

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, turned = ctx.saved_tensors
        ctx.read[ctx.step] = x.detach()
        d_x = dy @ turned if ctx.needs_input_grad[0] else None
        return d_x, None, None, dy if ctx.hand else None, None, None, None, None
