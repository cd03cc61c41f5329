"""The additive score without its inner tensor of batch x tgt_len x src_len x key numbers.

    score[t, i] = v^T tanh(q[t] + k[i])                    (Bahdanau et al. 2015, A.1.2)

with q = W_a s and k = U_a h already projected. torch's tanh runs at a fraction of its sigmoid's
speed on a CPU, so we compute, with the gate g = sigmoid(2 (q + k)),

    tanh(q + k) = 2 g - 1    and so    score = 2 v^T g - sum(v)

The gates of one tile (some rows of the batch, target and source positions) are computed into a
buffer that stays in cache, reduced and overwritten by the next tile's; the backward pass computes
them again instead of keeping them. With d = dloss/dscore:

    dloss/dq[t] = 4 v sum_i d[t, i] (g - g^2)[t, i]    as d tanh(x) = 4 (g - g^2) dx
    dloss/dk[i] = 4 v sum_t d[t, i] (g - g^2)[t, i]
    dloss/dv    = sum_t,i d[t, i] (2 g[t, i] - 1)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from jumok.nn.arithmetic import type_of_sums

_TILE = 1 << 19
"""Numbers in a tile: 2 MiB of float32, and as much again in the backward pass.

Measured with 2 ** 17 to 2 ** 21: smaller tiles cost more in calls (2 ** 18: a tenth), and from
2 ** 21 on they leave the cache.
"""

_WRITTEN_OUT = 1 << 14
"""The most numbers for which the formula is written out, as a decoding step may be: there it is
faster, by the calls that it saves. The two meet at 2 ** 14 to 2 ** 16 with gradients, and at
2 ** 13 without."""

_LARGEST = 40.0
"""Largest |q| and |k| for which exp(2 |q|), exp(2 |k|) are far from float32's limits (exp(88))."""

_FEW = 4
"""With fewer target or source positions than this, factors are not worth their exponentials."""


def additive_score(
    query: Float[Tensor, "*batch tgt_len key"],
    keys: Float[Tensor, "*batch src_len key"],
    v: Float[Tensor, "*heads key"],
    fast: bool = True,
) -> Float[Tensor, "*batch tgt_len src_len"]:
    """``score = v^T tanh(query + key)``, with both already projected.

    With ``query = W_a s`` and ``keys = U_a h`` this is Bahdanau et al. 2015, A.1.2. It is also
    Luong et al. 2015, section 3.1 ("concat"), ``v^T tanh(W_a [s; h])``, whose one matrix is the
    two side by side: ``W_a [s; h] = W_s s + W_h h``. Each head, the last of ``batch``, has its v.

    Memory: the scores and a few tiles; with `create_graph`, and if not ``fast``, the whole inner
    tensor. On a GPU the kernels of `jumok.nn.additive_gpu` take the tiles' place, where there is
    Triton for them.
    """
    batch, (tgt_len, size), src_len = query.shape[:-2], query.shape[-2:], keys.shape[-2]
    numbers = query.numel() * src_len
    in_kernels = fast and query.is_cuda and query.dtype != torch.float64 and _has_kernels()
    if not fast or (numbers <= _WRITTEN_OUT and not in_kernels):
        return (_inner(query, keys) * v[..., None, None, :]).sum(dim=-1)
    if numbers <= _TILE and not in_kernels:
        scores: Tensor = _OneTile.apply(query, keys, v)  # type: ignore[no-untyped-call]
        return scores
    road = _kernels() if in_kernels else _Tiled
    scores = road.apply(  # type: ignore[no-untyped-call]
        query.reshape(-1, tgt_len, size),
        keys.reshape(-1, src_len, size),
        v.expand(*batch, size).reshape(-1, size),
    )
    return scores.view(*batch, tgt_len, src_len)


def _kernels() -> type[torch.autograd.Function]:
    from jumok.nn.additive_gpu import GPUScore

    return GPUScore


@cache
def _has_kernels() -> bool:
    """Whether Triton is here and makes them: it wants a C compiler, and a GPU that is not too old.

    Where it does not, tiles are as right, and slower.
    """
    try:
        some = torch.zeros(1, 1, 1, device="cuda")
        _kernels().apply(some, some, some[0])  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    except Exception as error:  # whatever it wants
        reason = str(error).strip().split("\n", 1)[0]
        warnings.warn(
            f"Triton cannot make kernels here ({type(error).__name__}: {reason}): additive "
            "attention is computed in tiles, which is slower",
            stacklevel=2,
        )
        return False
    return True


def _inner(
    query: Float[Tensor, "*batch tgt_len key"], keys: Float[Tensor, "*batch src_len key"]
) -> Float[Tensor, "*batch tgt_len src_len key"]:
    """The tanh of the formula, written out."""
    return torch.tanh(query[..., :, None, :] + keys[..., None, :, :])


class _OneTile(torch.autograd.Function):
    """The formula where all of it is one tile, as for a step of a loop: nothing has to be cut."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Float[Tensor, "*batch tgt_len key"],
        keys: Float[Tensor, "*batch src_len key"],
        v: Float[Tensor, "*heads key"],
    ) -> Float[Tensor, "*batch tgt_len src_len"]:
        ctx.save_for_backward(query, keys, v)
        v_dtype, v = v.dtype, v.to(type_of_sums(query))[..., None, None, :]
        scores = _gates(query, keys).mul_(2 * v).sum(-1).sub_(v.sum(-1))
        return scores.to(torch.promote_types(query.dtype, v_dtype))

    @staticmethod
    def backward(
        ctx: Any, d: Float[Tensor, "*batch tgt_len src_len"]
    ) -> tuple[
        Float[Tensor, "*batch tgt_len key"],
        Float[Tensor, "*batch src_len key"],
        Float[Tensor, "*heads key"],
    ]:
        query, keys, v = ctx.saved_tensors
        if torch.is_grad_enabled():
            return written_out_gradients(query, keys, v, d)
        gates, d = _gates(query, keys), d[..., None].to(type_of_sums(query))
        row = v[..., None, None, :]
        part = gates * d
        d_v = 2 * part.sum_to_size(row.shape) - d.sum_to_size(*row.shape[:-1], 1)
        part.addcmul_(part, gates, value=-1)
        d_query, four_v = part.sum(-2), 4 * row[..., 0, :]
        d_keys = part[..., 0, :, :] if query.shape[-2] == 1 else part.sum(-3)
        return (
            d_query.mul_(four_v).to(query.dtype),
            d_keys.mul_(four_v).to(keys.dtype),
            d_v.view_as(v).to(v.dtype),
        )


def _gates(
    query: Float[Tensor, "*batch tgt_len key"], keys: Float[Tensor, "*batch src_len key"]
) -> Float[Tensor, "*batch tgt_len src_len key"]:
    """g, all at once."""
    dtype = type_of_sums(query)
    twice, keys = 2 * query.to(dtype), keys.to(dtype)
    return torch.add(twice[..., :, None, :], keys[..., None, :, :], alpha=2).sigmoid_()


def written_out_gradients(
    query: Tensor, keys: Tensor, v: Tensor, d: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """For `create_graph`: at once, by what can be differentiated again."""
    inner, row = _inner(query, keys), v[..., None, None, :]
    slope = d[..., None] * row * (1 - inner**2)
    d_v = (d[..., None] * inner).sum_to_size(row.shape)
    return slope.sum(-2), slope.sum(-3), d_v.view_as(v)


class _Tiled(torch.autograd.Function):
    """The formula tile by tile, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Float[Tensor, "batch tgt_len key"],
        keys: Float[Tensor, "batch src_len key"],
        v: Float[Tensor, "batch key"],
    ) -> Float[Tensor, "batch tgt_len src_len"]:
        ctx.save_for_backward(query, keys, v)
        v_dtype, v = v.dtype, v.to(type_of_sums(query))[:, None, None]
        scores = query.new_empty(*query.shape[:2], keys.shape[1], dtype=v.dtype)
        twice = 2 * v
        for b, t, i, gates in _tiles(query, keys):
            torch.sum(gates.mul_(twice[b]), dim=-1, out=scores[b, t, i])
        return scores.sub_(v.sum(-1)).to(torch.promote_types(query.dtype, v_dtype))

    @staticmethod
    def backward(
        ctx: Any, d: Float[Tensor, "batch tgt_len src_len"]
    ) -> tuple[
        Float[Tensor, "batch tgt_len key"],
        Float[Tensor, "batch src_len key"],
        Float[Tensor, "batch key"],
    ]:
        query, keys, v = ctx.saved_tensors
        if torch.is_grad_enabled():
            return written_out_gradients(query, keys, v, d)
        dtype = type_of_sums(query)
        d = d.to(dtype)
        d_query, d_keys, d_v = (torch.empty_like(x, dtype=dtype) for x in (query, keys, v))
        size = math.prod(_tile_shape(query, keys))
        product, total = query.new_empty(size, dtype=dtype), query.new_empty(size, dtype=dtype)
        for b, t, i, gates in _tiles(query, keys):
            part = _view(product, *gates.shape)
            torch.mul(gates, d[b, t, i, None], out=part)
            _add_sum(d_v[b], part, (1, 2), total, first=t.start == i.start == 0)
            # one step: the slopes d (g - g^2) are the keys' gradients
            slopes = d_keys[b, None, i] if query.shape[1] == 1 else part
            torch.addcmul(part, part, gates, value=-1, out=slopes)
            _add_sum(d_query[b, t], slopes, (2,), total, first=i.start == 0)
            if slopes is part:
                _add_sum(d_keys[b, i], part, (1,), total, first=t.start == 0)
        four_v = 4 * v[:, None]
        return (
            d_query.mul_(four_v).to(query.dtype),
            d_keys.mul_(four_v).to(keys.dtype),
            (2 * d_v - d.sum((1, 2))[:, None]).to(v.dtype),
        )


def _add_sum(
    target: Tensor, terms: Tensor, dims: tuple[int, ...], buffer: Tensor, *, first: bool
) -> None:
    """``target += sum of terms``, or ``=`` the first time.

    torch.sum cannot add to what is there. Its result goes to a buffer: a small block that is freed
    at once makes the allocator return pages that the next call has to ask for.
    """
    if first:
        torch.sum(terms, dim=dims, out=target)
    else:
        target.add_(torch.sum(terms, dim=dims, out=_view(buffer, *target.shape)))


def _tiles(
    query: Float[Tensor, "batch tgt_len key"], keys: Float[Tensor, "batch src_len key"]
) -> Iterator[tuple[slice, slice, slice, Float[Tensor, "rows tgt_part src_part key"]]]:
    """Batch rows, target and source positions of each tile, and its gates, all in one buffer.

    As ``sigmoid(2 (q + k)) = 1 / (1 + exp(-2 q) exp(-2 k))``, the exponentials are taken once for
    each position, not for each pair of them, unless they could overflow.
    """
    (batch, tgt_len, key), src_len, dtype = query.shape, keys.shape[1], type_of_sums(query)
    rows, tgt_part, src_part, _ = _tile_shape(query, keys)
    factors = min(tgt_len, src_len) >= _FEW and not query.is_cuda  # which would be waited for
    factors = factors and _is_small(query) and _is_small(keys)
    tile = query.new_empty(rows * tgt_part * src_part * key, dtype=dtype)
    q_buffer = query.new_empty(rows * tgt_len * key, dtype=dtype)
    k_buffer = query.new_empty(rows * src_len * key if factors else 0, dtype=dtype)
    one = query.new_ones((), dtype=dtype)
    for b in _slices(batch, rows):
        q, k = query[b], keys[b]
        q = torch.mul(q, -2.0 if factors else 2.0, out=_view(q_buffer, *q.shape))
        if factors:
            q.exp_()
            k = torch.mul(k, -2.0, out=_view(k_buffer, *k.shape)).exp_()
        for t in _slices(tgt_len, tgt_part):
            q_part = q[:, t, None]
            for i in _slices(src_len, src_part):
                k_part = k[:, None, i]
                gates = _view(tile, len(q), q_part.shape[1], k_part.shape[2], key)
                if factors:
                    torch.addcmul(one, q_part, k_part, out=gates).reciprocal_()
                else:
                    torch.add(q_part, k_part, alpha=2, out=gates).sigmoid_()
                yield b, t, i, gates


def _tile_shape(
    query: Float[Tensor, "batch tgt_len key"], keys: Float[Tensor, "batch src_len key"]
) -> tuple[int, int, int, int]:
    """Rows of the batch, target and source positions in a tile, and key.

    A square where both lengths are long, so that no sum is over few; several rows of the batch
    where both are short.
    """
    (batch, tgt_len, key), src_len = query.shape, keys.shape[1]
    pairs = max(1, _TILE // key)
    tgt_part = _part(tgt_len, max(math.isqrt(pairs), pairs // src_len))
    src_part = _part(src_len, pairs // tgt_part)
    rows = _part(batch, pairs // (tgt_len * src_len))
    return rows, tgt_part, src_part, key


def _part(length: int, most: int) -> int:
    """Size of the fewest equal parts that are no longer than ``most``."""
    return math.ceil(length / math.ceil(length / max(1, most)))


def _slices(length: int, part: int) -> list[slice]:
    return [slice(start, min(start + part, length)) for start in range(0, length, part)]


def _view(buffer: Float[Tensor, " size"], *shape: int) -> Tensor:
    return buffer[: math.prod(shape)].view(shape)


def _is_small(x: Float[Tensor, "batch length key"]) -> bool:
    """Whether the exponentials of +-2x are finite; false if there is a NaN."""
    low, high = torch.aminmax(x)
    return bool(low > -_LARGEST) and bool(high < _LARGEST)
