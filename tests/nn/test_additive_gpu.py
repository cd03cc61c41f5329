"""The additive score's kernels against the formula written out and the road that CPUs take.

On a GPU where there is one; else Triton interprets them, number by number.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jumok.nn.additive import _Tiled

pytest.importorskip("triton", reason="Triton, for kernels of a GPU, is not installed")
from jumok.nn import additive_gpu

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"


def written_out(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    """Bahdanau et al. 2015, A.1.2."""
    inner = torch.tanh(query[:, :, None, :] + keys[:, None, :, :])
    return (v[:, None, None, :] * inner).sum(dim=-1)


def made(batch: int, tgt_len: int, src_len: int, size: int, shared: bool) -> list[Tensor]:
    """Query, keys and v; v is the same for all rows where it is ``shared``."""
    generator = torch.Generator().manual_seed(batch + tgt_len + src_len + size)
    shapes = (batch, tgt_len, size), (batch, src_len, size), (1 if shared else batch, size)
    query, keys, v = (torch.randn(shape, generator=generator) for shape in shapes)
    return [x.to(DEVICE) for x in (query, keys, v.expand(batch, -1))]


def results(road: object, inputs: list[Tensor], d: Tensor) -> list[Tensor]:
    """Scores and gradients."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    scores = road(*leaves)  # type: ignore[operator]
    return [scores.detach(), *torch.autograd.grad(scores, leaves, d.to(scores.dtype))]


def assert_near(found: list[Tensor], wanted: list[Tensor], error: float) -> None:
    """Relative to numbers of size 1 where they happen to be smaller: a tanh next to 0 is a
    difference of ones."""
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert torch.isfinite(one).all()
        size = max(float(other.double().norm()), math.sqrt(other.numel()))
        assert (one.double() - other.double()).norm() <= error * size


@pytest.mark.paper
@settings(max_examples=25 if not ON_GPU else 100, deadline=None)
@given(
    batch=st.integers(1, 3),
    tgt_len=st.integers(1, 35),
    src_len=st.integers(1, 35),
    size=st.integers(1, 70),
    shared=st.booleans(),
)
def test_paper_kernels_give_the_formula_and_its_gradients(
    batch: int, tgt_len: int, src_len: int, size: int, shared: bool
) -> None:
    inputs = made(batch, tgt_len, src_len, size, shared)
    d = torch.randn(batch, tgt_len, src_len, device=DEVICE)
    wanted = results(written_out, [x.double() for x in inputs], d)
    found = results(additive_gpu.GPUScore.apply, inputs, d)
    assert_near(found, wanted, 1e-5)
    assert_near(found, results(_Tiled.apply, inputs, d), 1e-5)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # NumPy's, as it should
def test_numbers_beyond_the_exponential() -> None:
    """tanh is +-1 there, and nothing is NaN."""
    query = torch.tensor([[[-300.0, 300.0, 0.0]]], device=DEVICE)
    keys = torch.tensor([[[0.0, 0.0, 0.0], [-1e30, 1e30, 1e-30]]], device=DEVICE)
    v = torch.tensor([[1.0, 2.0, 4.0]], device=DEVICE)
    d = torch.ones(1, 1, 2, device=DEVICE)
    scores, d_query, d_keys, d_v = results(additive_gpu.GPUScore.apply, [query, keys, v], d)
    assert scores.tolist() == [[[1.0, 1.0]]]
    assert d_query.tolist() == [[[0.0, 0.0, 8.0]]]
    assert d_keys.tolist() == [[[0.0, 0.0, 4.0], [0.0, 0.0, 4.0]]]
    assert d_v.tolist() == [[-2.0, 2.0, 0.0]]


def test_bfloat16_is_summed_in_float32() -> None:
    inputs = [x.to(torch.bfloat16) for x in made(2, 9, 20, 70, True)]
    d = torch.randn(2, 9, 20, device=DEVICE)
    wanted = results(written_out, [x.double() for x in inputs], d.bfloat16())
    found = results(additive_gpu.GPUScore.apply, inputs, d)
    assert [x.dtype for x in found] == [torch.bfloat16] * 4
    assert_near(found, wanted, 5e-3)  # rounded once, at the end: half of 2 ** -8


def test_a_derivative_of_a_derivative() -> None:
    inputs = [x.detach().requires_grad_() for x in made(1, 2, 3, 5, False)]
    found, wanted = (
        torch.autograd.grad(
            torch.autograd.grad(road(*inputs).sin().sum(), inputs[0], create_graph=True)[0].sum(),
            inputs,
        )
        for road in (additive_gpu.GPUScore.apply, written_out)
    )
    assert_near(list(found), list(wanted), 1e-5)
