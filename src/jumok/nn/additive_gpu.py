"""The additive score on a GPU: Triton kernels for what `jumok.nn.additive` makes in tiles.

    score[t, i] = sum_c v[c] tanh(q[t, c] + k[i, c])       (Bahdanau et al. 2015, A.1.2)

A program sums a square of scores over c in registers, so of the inner tensor of batch x tgt_len x
src_len x key nothing is ever in memory; the backward pass computes it again. With d = dloss/dscore
and the slope s[t, i, c] = d[t, i] (1 - tanh^2(q[t, c] + k[i, c])):

    dloss/dq[t, c] = v[c] sum_i s[t, i, c]        dloss/dk[i, c] = v[c] sum_t s[t, i, c]
    dloss/dv[c]    = sum_t,i d[t, i] tanh(q[t, c] + k[i, c])

As the formula is the same for q and k, one kernel makes either gradient with the roles changed; no
two programs add to one number, so results are the same every time. Sums are in float32.

Where `TRITON_INTERPRET=1` was set before this file is imported, Triton runs the kernels on a CPU,
number by number: so they are tested where there is no GPU. (`no_type_check`, so that nothing is
put around a kernel: Triton reads its source.)
"""

from __future__ import annotations

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from jumok.nn.additive import written_out_gradients

# Measured on an H100 with keys of 512: scores of 8 x 8 positions, 32 key numbers at a time (of one
# query, as a step has: 128); gradients of 4 positions and 64 key numbers, 16 others at a time.
_SIDE, _NUMBERS, _WIDEST = 8, 2048, 128
_OWN, _OTHER, _WIDTH = 4, 16, 64


@triton.jit
@no_type_check
def _tanh(x):
    """Exactly +-1 where exp is 0 or infinite."""
    return 1.0 - 2.0 / (1.0 + tl.exp(2.0 * x))


@triton.jit
@no_type_check
def _score_kernel(
    query, keys, v, scores, tgt_len, src_len, size, v_row,
    t_side: tl.constexpr, i_side: tl.constexpr, part: tl.constexpr,
):  # fmt: skip
    i_blocks = tl.cdiv(src_len, i_side)
    blocks = tl.cdiv(tgt_len, t_side) * i_blocks
    row = (tl.program_id(0) // blocks).to(tl.int64)
    t = tl.program_id(0) % blocks // i_blocks * t_side + tl.arange(0, t_side)
    i = tl.program_id(0) % i_blocks * i_side + tl.arange(0, i_side)
    query += row * tgt_len * size
    keys += row * src_len * size
    total = tl.zeros([t_side, i_side], tl.float32)
    for start in range(0, size, part):
        c = start + tl.arange(0, part)
        there = c < size
        q_there = (t < tgt_len)[:, None] & there[None, :]
        k_there = (i < src_len)[:, None] & there[None, :]
        q = tl.load(query + t[:, None] * size + c[None, :], q_there, 0.0).to(tl.float32)
        k = tl.load(keys + i[:, None] * size + c[None, :], k_there, 0.0).to(tl.float32)
        by = tl.load(v + row * v_row + c, there, 0.0).to(tl.float32)
        inner = _tanh(q[:, None, :] + k[None, :, :])
        total += tl.sum(inner * by[None, None, :], axis=2)
    place = scores + row * tgt_len * src_len + t[:, None] * src_len + i[None, :]
    tl.store(place, total, (t < tgt_len)[:, None] & (i < src_len)[None, :])


@triton.jit
@no_type_check
def _gradient_kernel(
    own, other, v, d, d_own, d_v, own_len, other_len, size, v_row, own_step, other_step,
    own_side: tl.constexpr, other_side: tl.constexpr, part: tl.constexpr, with_v: tl.constexpr,
):  # fmt: skip
    """``own`` is q and ``other`` k, or the other way round; d[a, b] is a own_step + b other_step
    into its row. ``d_v``, if it is made, has a part for each block of own's positions."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    a = block * own_side + tl.arange(0, own_side)
    c = tl.program_id(2) * part + tl.arange(0, part)
    there = c < size
    a_there = (a < own_len)[:, None] & there[None, :]
    own += row * own_len * size
    other += row * other_len * size
    d += row * own_len * other_len
    place = a[:, None] * size + c[None, :]
    x = tl.load(own + place, a_there, 0.0).to(tl.float32)
    by = tl.load(v + row * v_row + c, there, 0.0).to(tl.float32)
    slopes = tl.zeros([own_side, part], tl.float32)
    values = tl.zeros([own_side, part], tl.float32)
    for start in range(0, other_len, other_side):
        b = start + tl.arange(0, other_side)
        b_there = b < other_len
        read = b_there[:, None] & there[None, :]
        y = tl.load(other + b[:, None] * size + c[None, :], read, 0.0).to(tl.float32)
        d_there = (a < own_len)[:, None] & b_there[None, :]
        g = tl.load(d + a[:, None] * own_step + b[None, :] * other_step, d_there, 0.0)
        inner = _tanh(x[:, None, :] + y[None, :, :])
        g = g.to(tl.float32)[:, :, None]
        slopes += tl.sum(g - g * inner * inner, axis=1)
        if with_v:
            values += tl.sum(g * inner, axis=1)
    tl.store(d_own + row * own_len * size + place, slopes * by[None, :], a_there)
    if with_v:
        place = (row * tl.num_programs(1) + block) * size + c
        tl.store(d_v + place, tl.sum(values, axis=0), there)


class GPUScore(torch.autograd.Function):
    """`jumok.nn.additive.additive_score` of float32, bfloat16 or float16."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Float[Tensor, "batch tgt_len key"],
        keys: Float[Tensor, "batch src_len key"],
        v: Float[Tensor, "batch key"],
    ) -> Float[Tensor, "batch tgt_len src_len"]:
        query, keys = query.contiguous(), keys.contiguous()
        v = v if v.stride(1) == 1 else v.contiguous()
        ctx.save_for_backward(query, keys, v)
        (batch, tgt_len, size), src_len = query.shape, keys.shape[1]
        scores = query.new_empty(batch, tgt_len, src_len, dtype=torch.float32)
        t, s = _part(tgt_len, _SIDE), _part(src_len, _SIDE)
        c = _part(size, min(_WIDEST, _NUMBERS // (t * s)))
        programs = batch * triton.cdiv(tgt_len, t) * triton.cdiv(src_len, s)
        with torch.cuda.device_of(query):  # type: ignore[no-untyped-call]  # Triton takes the current one
            _score_kernel[programs,](
                query, keys, v, scores, tgt_len, src_len, size, v.stride(0),
                t_side=t, i_side=s, part=c,
            )  # fmt: skip
        return scores.to(torch.promote_types(query.dtype, v.dtype))

    @staticmethod
    def backward(
        ctx: Any, d: Float[Tensor, "batch tgt_len src_len"]
    ) -> tuple[
        Float[Tensor, "batch tgt_len key"],
        Float[Tensor, "batch src_len key"],
        Float[Tensor, "batch key"] | None,
    ]:
        query, keys, v = ctx.saved_tensors
        if torch.is_grad_enabled():
            return written_out_gradients(query, keys, v, d)
        d = d.contiguous()
        d_query, d_v = _gradient(query, keys, v, d, own_step=d.shape[2], other_step=1)
        d_keys, _ = _gradient(keys, query, v, d, own_step=1, other_step=d.shape[2], with_v=False)
        return d_query, d_keys, d_v


def _gradient(
    own: Float[Tensor, "batch own key"],
    other: Float[Tensor, "batch other key"],
    v: Float[Tensor, "batch key"],
    d: Float[Tensor, "batch tgt_len src_len"],
    own_step: int,
    other_step: int,
    with_v: bool = True,
) -> tuple[Float[Tensor, "batch own key"], Float[Tensor, "batch key"] | None]:
    """The gradient of ``own``, and that of v where it is wanted."""
    (batch, length, size), other_len = own.shape, other.shape[1]
    a, b, c = _part(length, _OWN), _part(other_len, _OTHER), _part(size, _WIDTH)
    blocks = triton.cdiv(length, a)
    d_own = torch.empty_like(own)
    parts = v.new_empty((batch, blocks, size) if with_v else 0, dtype=torch.float32)
    with torch.cuda.device_of(own):  # type: ignore[no-untyped-call]
        _gradient_kernel[batch, blocks, triton.cdiv(size, c)](
            own, other, v, d, d_own, parts, length, other_len, size, v.stride(0),
            own_step, other_step, own_side=a, other_side=b, part=c, with_v=with_v,
        )  # fmt: skip
    return d_own, parts.sum(dim=1).to(v.dtype) if with_v else None


def _part(length: int, most: int) -> int:
    """The power of two that holds ``length``, or ``most``."""
    return min(most, triton.next_power_of_2(length))
