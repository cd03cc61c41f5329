"""How exactly numbers are multiplied and added.

On some CPUs without Intel's fast path, torch's default float32 product runs at half the speed of
oneDNN's. Allowed bfloat16, torch takes oneDNN's; the name promises less precision, but without AMX
units the arithmetic stays float32. So it is tried and measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_TOLERANCE = 1e-5
"""Relative error that float32 sums of 512 terms stay well below and bfloat16 (4e-3) does not."""

_IN_ROW = 16
"""Numbers in a row of which torch's own product is fast; for rows of 7,859 it takes 1.6 times as
long as for 7,872."""


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """For sums: bfloat16 is too coarse, float64 is left as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def type_of_products(weight: Float[Tensor, "*shape"]) -> torch.dtype:
    """Autocast's on the CPU, where it is on: it rounds float32 and leaves float64 as it is."""
    if torch.is_autocast_enabled("cpu") and weight.dtype == torch.float32:
        return torch.get_autocast_dtype("cpu")
    return weight.dtype


def linear_alone(
    x: Float[Tensor, "*rows size"],
    weight: Float[Tensor, "numbers size"],
    bias: Float[Tensor, "numbers"] | Float[Tensor, "rows numbers"],
) -> Float[Tensor, "*rows numbers"]:
    """`linear` where nothing learns: on the CPU, with room at the end of each row (`_IN_ROW`)."""
    flat, numbers = x.reshape(-1, x.shape[-1]), len(weight)
    if x.device.type != "cpu" or not x.dtype == weight.dtype == type_of_products(weight):
        made = torch.addmm(bias, flat, weight.t())
    else:
        made = x.new_empty(len(flat), numbers + -numbers % _IN_ROW)[:, :numbers]
        torch.addmm(bias, flat, weight.t(), out=made)
    return made.view(*x.shape[:-1], numbers)


@contextmanager
def cpu_arithmetic(threads: int | None, fast: bool = True) -> Iterator[bool]:
    """For a while: ``threads`` threads, and, if ``fast``, the fast road where it is as exact.

    Both are settings of the whole process, so they are put back afterwards. Says whether the fast
    road is taken.
    """
    before = _precision(), torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    if fast:
        _set_precision(_BF16)
        fast = _product_error() < _TOLERANCE
    if not fast:
        _set_precision(_FP32)
    try:
        yield fast
    finally:
        _set_precision(before[0])
        torch.set_num_threads(before[1])


_OF_THE_CPU: Any = getattr(torch.backends.mkldnn, "matmul", None)
"""The setting of the CPU's products alone, since torch 2.9. The older one is a GPU's too, and fails
in a process that uses the newer kind."""
_BF16, _FP32 = ("bf16", "ieee") if _OF_THE_CPU else ("medium", "highest")


def _precision() -> str:
    if _OF_THE_CPU:
        return str(_OF_THE_CPU.fp32_precision)
    return torch.get_float32_matmul_precision()


def _set_precision(to: str) -> None:
    if _OF_THE_CPU:
        _OF_THE_CPU.fp32_precision = to
    else:
        torch.set_float32_matmul_precision(to)


def _product_error() -> float:
    """Relative error of a float32 product against float64."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(64, 512, generator=generator, dtype=torch.float64)
    right = torch.randn(512, 64, generator=generator, dtype=torch.float64)
    exact = left @ right
    product = (left.float() @ right.float()).double()
    return float((product - exact).abs().max() / exact.abs().max())
