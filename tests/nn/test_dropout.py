"""The noise against what Bernoulli's law says of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from jumok.config import resolve
from jumok.nn import Seq2Seq
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


def share_of_zeros(x: Tensor) -> float:
    return float((x == 0).double().mean())


@pytest.mark.parametrize("features", ["tokens", "apart"])
def test_where_dropout_falls_in_a_model(features: str) -> None:
    """On embeddings, between layers, on the encoder's top layer and before the readout; no state
    that goes on is touched."""
    settings = {
        f"model.{side}.{name}": value
        for side, rate in (("encoder", 0.25), ("decoder", 0.5))
        for name, value in (("layers", 2), ("dropout", rate), ("token_dropout", 0.0))
    }
    config = resolve(settings={**settings, "model.encoder.features": features}).model
    torch.manual_seed(4)
    model = Seq2Seq(config, 30, 30, 20 if features == "apart" else None).train()
    seen: dict[str, Tensor] = {}

    def look(name: str) -> Callable[[nn.Module, tuple[Tensor | PackedSequence, ...]], None]:
        def keep(_: nn.Module, inputs: tuple[Tensor | PackedSequence, ...]) -> None:
            x = inputs[0]
            seen[name] = x.data if isinstance(x, PackedSequence) else x

        return keep

    for name in ("encoder.rnn.layers.0", "encoder.rnn.layers.1"):
        model.get_submodule(name).register_forward_pre_hook(look(name))
    source = torch.randint(3, 30, (16, 12))
    memory = model.encode(source, torch.full((16,), 12))
    read = [memory.values[memory.mask]]
    if memory.features is not None:
        read.append(memory.features.values[memory.features.mask])
    assert memory.final.hidden.count_nonzero() == memory.final.hidden.numel()
    assert len(seen) == 2
    for x in (*seen.values(), *read):
        assert share_of_zeros(x) == pytest.approx(0.25, abs=0.02)

    made = model.decoder(torch.randint(3, 30, (16, 12)), memory)
    assert share_of_zeros(made.features) == 0
    embedded = model.decoder.embedding(torch.randint(3, 30, (16, 12)))
    for x in (embedded, model.decoder.last_map(made.features).x):
        assert share_of_zeros(x) == pytest.approx(0.5, abs=0.02)
