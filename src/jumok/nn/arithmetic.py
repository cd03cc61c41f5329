"""The faster of torch's two roads for float32 products, where it is as exact.

On CPUs without Intel's fast path, torch's default matrix product runs at half the speed of
oneDNN's. `torch.set_float32_matmul_precision("medium")` takes oneDNN's; its name promises less
precision, but without AMX units the arithmetic stays float32. So it is tried and measured.
"""

from __future__ import annotations

import torch

_TOLERANCE = 1e-5
"""Relative error that float32 sums of 512 terms stay well below and bfloat16 (4e-3) does not."""


def use_fast_float32() -> bool:
    """Switch to the fast road if a product through it keeps float32 precision; say whether."""
    torch.set_float32_matmul_precision("medium")
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(64, 512, generator=generator, dtype=torch.float64)
    right = torch.randn(512, 64, generator=generator, dtype=torch.float64)
    exact = left @ right
    error = ((left.float() @ right.float()).double() - exact).abs().max() / exact.abs().max()
    fast = bool(error < _TOLERANCE)
    if not fast:
        torch.set_float32_matmul_precision("highest")
    return fast
