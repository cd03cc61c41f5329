"""The noise against what Bernoulli's law says of it."""

from __future__ import annotations

import math

import pytest
import torch

from jumok.nn.dropout import Dropout, dropout

N = 400_000


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_rate_mean_and_independence(p: float) -> None:
    """All within five standard errors; neighbours and numbers of one random word do not agree."""
    torch.manual_seed(3)
    y = dropout(torch.ones(N), p, training=True)
    dropped = (y == 0).double()
    error = 5 * math.sqrt(p * (1 - p) / N)
    assert abs(dropped.mean() - p) < error + 2**-17
    assert abs(y.double().mean() - 1) < error / (1 - p)
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-3)
    for lag in (1, 2, 3, 4):
        both = (dropped[:-lag] * dropped[lag:]).mean()
        assert abs(both - p * p) < 5 * math.sqrt(p * p * (1 - p * p) / N) + 2**-16


def test_what_is_kept_is_divided_by_the_very_rate_it_is_kept_at() -> None:
    """0.1 is no multiple of 2 ** -16: the mean is exact for the rate that is drawn."""
    kept = dropout(torch.ones(1000), 0.1, training=True).max().item()
    assert kept == pytest.approx(65536 / (65536 - round(0.1 * 65536)), rel=1e-7)


def test_gradient_goes_where_the_values_went() -> None:
    x = torch.randn(7, 5, 3, dtype=torch.float64, requires_grad=True)
    y = dropout(x, 0.4, training=True)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad * x, y)
    assert (y == 0).any() and (y != 0).any()


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 0), (2, 3, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.ones(shape, dtype=dtype)
    y = dropout(x, 0.5, training=True)
    assert y.shape == x.shape and y.dtype == dtype
    assert ((y == 0) | (y == 2)).all()


def test_the_seed_decides_and_torch_goes_on_from_its_state() -> None:
    x, made = torch.ones(100), []
    state = torch.get_rng_state()
    for _ in range(2):
        torch.set_rng_state(state)
        made.append((dropout(x, 0.5, training=True), dropout(x, 0.5, training=True)))
    assert torch.equal(made[0][0], made[1][0]) and torch.equal(made[0][1], made[1][1])
    assert not torch.equal(made[0][0], made[0][1])


@pytest.mark.parametrize("p, training", [(0.0, True), (0.5, False)])
def test_without_noise_it_is_the_input_itself_and_draws_nothing(p: float, training: bool) -> None:
    x, before = torch.randn(4), torch.get_rng_state()
    assert Dropout(p).train(training)(x) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_almost_everything_dropped() -> None:
    """A p that rounds to 1 still keeps one in 2 ** 16, undivided by zero."""
    y = dropout(torch.ones(1000), 1 - 1e-9, training=True)
    assert torch.isfinite(y).all()
