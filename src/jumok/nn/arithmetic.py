"""How exactly numbers are multiplied and added.

On some CPUs without Intel's fast path, torch's default float32 product runs at half the speed of
oneDNN's. Let round to bfloat16, torch takes oneDNN's, whose arithmetic stays float32 all the same
without AMX units. So it is tried and measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

_TOLERANCE = 1e-5
"""Relative error that float32 sums of 512 terms stay well below and bfloat16 (4e-3) does not."""

_IN_ROW = 16
"""Numbers in a row of which torch's own product is fast; for rows of 7,859 it takes 1.6 times as
long as for 7,872."""


def type_of_sums(x: Float[Tensor, "*shape"]) -> torch.dtype:
    """bfloat16 is too coarse; float64 stays."""
    return torch.promote_types(x.dtype, torch.float32)


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``x`` for sums."""
    return x.to(type_of_sums(x))


def type_of_products(weight: Float[Tensor, "*shape"]) -> torch.dtype:
    """Autocast's on the weight's device, where it is on: it rounds float32 and leaves float64."""
    device = weight.device.type
    if weight.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype


def linear_alone(
    x: Float[Tensor, "*rows size"],
    weight: Float[Tensor, "numbers size"],
    bias: Float[Tensor, "numbers"] | Float[Tensor, "rows numbers"],
) -> Float[Tensor, "*rows numbers"]:
    """`linear` where nothing learns: on the CPU, with room at the end of each row (`_IN_ROW`).

    Where each row has a bias of its own, ``x`` has one axis before the last.
    """
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
    (let, put_back), before = _rounding(), torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        if fast:
            let(True)
            fast = _product_error() < _TOLERANCE
        if not fast:
            let(False)
        yield fast
    finally:
        put_back()
        torch.set_num_threads(before)


def _rounding() -> tuple[Callable[[bool], None], Callable[[], None]]:
    """What lets products be rounded to bfloat16 or forbids it, and what puts the caller's settings
    back.

    Since torch 2.9 each backend has a setting; where these are used the older one may not even be
    read, and elsewhere it is to stay readable.
    """
    backends = [vars(torch.backends)[name] for name in ("mkldnn", "cuda")]
    newer = [each.matmul for each in backends if hasattr(getattr(each, "matmul", 0), _NEWER)]
    found = [getattr(each, _NEWER) for each in newer]
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = None

    def let(rounded: bool) -> None:
        if older is None:
            setattr(newer[0], _NEWER, "bf16" if rounded else "ieee")
        else:
            torch.set_float32_matmul_precision("medium" if rounded else "highest")

    def put_back() -> None:
        if older is not None:
            torch.set_float32_matmul_precision(older)
        for each, before in zip(newer, found, strict=True):
            _restore(each, _NEWER, before)

    return let, put_back


_NEWER = "fp32_precision"


@contextmanager
def gpu_arithmetic(device: torch.device, rounded: bool = False) -> Iterator[None]:
    """For a while, a GPU multiplies float32 as float32 or, ``rounded``, as TF32, of 10 bits.

    torch has it as float32 in products, and as TF32 in cuDNN's recurrent layers. It counts for
    gradients too. These are settings of the whole process, so they are put back (cuDNN's no longer
    follows `torch.backends.fp32_precision` then). On a CPU, nothing.
    """
    if device.type != "cuda":
        yield
        return
    layers = getattr(torch.backends.cudnn, "rnn", None)
    layers = layers if hasattr(layers, _NEWER) else torch.backends.cudnn  # before torch 2.9
    backends = torch.backends.cuda.matmul, layers
    newer = [hasattr(each, _NEWER) for each in backends]
    names = [_NEWER if new else "allow_tf32" for new in newer]
    before = [getattr(each, name) for each, name in zip(backends, names, strict=True)]
    wanted = [("tf32" if rounded else "ieee") if new else rounded for new in newer]
    try:
        for each, name, value in zip(backends, names, wanted, strict=True):
            setattr(each, name, value)
        yield
    finally:
        for each, name, was in zip(backends, names, before, strict=True):
            _restore(each, name, was)


def _restore(backend: object, name: str, before: object) -> None:
    """Set ``name`` back; what a backend took from that of all, it takes from there again."""
    if name == _NEWER:
        setattr(backend, name, "none")
    if getattr(backend, name) != before:
        setattr(backend, name, before)


def _product_error() -> float:
    """Relative error of a float32 product against float64."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(64, 512, generator=generator, dtype=torch.float64)
    right = torch.randn(512, 64, generator=generator, dtype=torch.float64)
    exact = left @ right
    product = (left.float() @ right.float()).double()
    return float((product - exact).abs().max() / exact.abs().max())
