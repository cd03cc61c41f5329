"""The loss of a linear readout, without the logits of all rows at once.

    logits[r] = W x[r] + b                        p[r] = softmax(logits[r])
    loss = mean_r of -(1 - e) log p[r, y[r]] - e/V sum_v log p[r, v]

with label smoothing e (Szegedy et al. 2016, section 7). Its gradient needs nothing but p, so each
chunk of rows gives its share of it as soon as its logits are there, and the next takes its place:

    g[r] = (p[r] - (1 - e) onehot(y[r]) - e/V) / rows             zeros where r is left out
    dloss/dx[r] = W^T g[r]        dloss/dW = sum_r g[r] x[r]^T        dloss/db = sum_r g[r]

Memory: the gradient, which is needed in any case, and one chunk of logits and of p.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jumok.nn.arithmetic import at_least_float32, type_of_products
from jumok.nn.derivatives import first_derivative_only

_CHUNK = 1 << 21
"""Logits in a chunk: 8 MiB of float32. Smaller chunks make thin products: measured with 2 ** 18 to
2 ** 21, each halving costs more. With fewer logits altogether, torch's own loss is taken."""

_CHUNK_OF_GPU = 1 << 27
"""512 MiB: a GPU has the room for what is usual, and its products want to be large."""

LEFT_OUT = -100
"""The target of a row that does not count, as in torch's loss."""

_TILE = 64
"""A chunk has a multiple of so many rows: oneDNN's product of 265 rows costs 1.2 times that of 256
for each, and the whole loss 1.15 times (7,900 words, size 256)."""


def linear_cross_entropy(
    x: Float[Tensor, "rows size"],
    weight: Float[Tensor, "vocab size"],
    bias: Float[Tensor, "vocab"],
    targets: Int[Tensor, "rows"],
    label_smoothing: float = 0.0,
    fast: bool = True,
    chunk: int | None = None,
) -> Float[Tensor, ""]:
    """Mean loss over the rows whose target is not `LEFT_OUT`. Under autocast, products are in its
    type.

    In chunks, which gives first derivatives only, if ``fast`` and where there is more than one.
    """
    if chunk is None:
        chunk = _CHUNK_OF_GPU if x.is_cuda else _CHUNK
    if not fast or len(x) * len(weight) <= chunk:
        logits = at_least_float32(nn.functional.linear(x, weight, bias))
        return nn.functional.cross_entropy(
            logits, targets, ignore_index=LEFT_OUT, label_smoothing=label_smoothing
        )
    learns = torch.is_grad_enabled()
    loss: Tensor = _InChunks.apply(x, weight, bias, targets, label_smoothing, chunk, learns)  # type: ignore[no-untyped-call]
    return loss


class _InChunks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "rows size"],
        weight: Float[Tensor, "vocab size"],
        bias: Float[Tensor, "vocab"],
        targets: Int[Tensor, "rows"],
        label_smoothing: float,
        chunk: int,
        learns: bool,
    ) -> Float[Tensor, ""]:
        vocab, dtype = len(weight), type_of_products(weight)
        read, by = x.to(dtype), weight.to(dtype)
        wanted = [learns and needed for needed in ctx.needs_input_grad[:3]]
        d_x, d_weight, d_bias = (
            torch.zeros_like(tensor, dtype=bias.dtype) if want else None
            for tensor, want in zip((x, weight, bias), wanted, strict=True)
        )
        total, counts = at_least_float32(x.new_zeros(())), targets != LEFT_OUT
        picks = targets.masked_fill(~counts, 0)
        some_left_out = x.is_cuda or not counts.all()  # a GPU would have to be waited for
        rows = max(1, chunk // vocab)
        rows -= rows % _TILE if rows > _TILE else 0
        kept = at_least_float32(x.new_empty((min(rows, len(x)), vocab)))
        with torch.autocast(x.device.type, enabled=False):
            for start in range(0, len(x), rows):
                part = slice(start, start + rows)
                logits = at_least_float32(nn.functional.linear(read[part], by)).add_(bias)
                target, count = picks[part, None], counts[part, None]
                p = torch.softmax(logits, dim=1, out=kept[: len(logits)])
                # one fused pass for p; and the largest p is never too small for its logarithm
                log_sum = logits.amax(dim=1, keepdim=True) - p.amax(dim=1, keepdim=True).log()
                picked = (1 - label_smoothing) * logits.gather(1, target)
                if label_smoothing:
                    picked += label_smoothing / vocab * logits.sum(dim=1, keepdim=True)
                total += (log_sum - picked).masked_fill_(~count, 0.0).sum()
                if not any(wanted):
                    continue
                g = p.sub_(label_smoothing / vocab) if label_smoothing else p
                g.scatter_add_(1, target, g.new_full((), label_smoothing - 1).expand_as(target))
                if some_left_out:
                    g.masked_fill_(~count, 0.0)
                if d_bias is not None:
                    d_bias += g.sum(dim=0)
                g = g.to(dtype)
                if d_x is not None:
                    d_x[part] = g @ by
                if d_weight is not None and dtype == d_weight.dtype:
                    d_weight.addmm_(g.t(), read[part])
                elif d_weight is not None:
                    d_weight += g.t() @ read[part]
        ctx.save_for_backward(d_x, d_weight, d_bias)
        ctx.rows, ctx.dtype = counts.sum(), x.dtype
        return total / ctx.rows

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, d: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:
        d_x, d_weight, d_bias = (
            None if part is None else d / ctx.rows * part for part in ctx.saved_tensors
        )
        d_x = None if d_x is None else d_x.to(ctx.dtype)
        return d_x, d_weight, d_bias, None, None, None, None
