"""From the encoder's last state to the decoder's first, by hand."""

from __future__ import annotations

import pytest
import torch

from jumok.config import resolve
from jumok.nn.bridge import Bridge
from jumok.nn.masks import masked_mean
from jumok.nn.memory import RNNState

FINAL = RNNState(torch.arange(4.0).view(1, 1, 4), torch.full((1, 1, 4), 9.0))


def bridge(kind: str, cell: str = "lstm") -> Bridge:
    sizes = {"model.encoder.hidden": 2, "model.decoder.hidden": 4}
    return Bridge(
        resolve(settings={**sizes, "model.decoder.bridge": kind, "model.decoder.cell": cell}).model
    )


@pytest.mark.parametrize(
    ("kind", "hidden", "cell"), [("zero", 0, 0), ("last", 1, 1), ("last_hidden", 1, 0)]
)
def test_what_is_copied(kind: str, hidden: int, cell: int) -> None:
    state = bridge(kind)(FINAL)
    assert state.cell is not None
    torch.testing.assert_close(state.hidden, FINAL.hidden * hidden)
    torch.testing.assert_close(state.cell, FINAL.cell * cell)


@pytest.mark.paper
def test_learned_is_tanh_of_a_projection_of_each_half() -> None:
    module = bridge("learned")
    state = module(FINAL)
    for given, made, layer in (
        (FINAL.hidden, state.hidden, module.hidden_projection),
        (FINAL.cell, state.cell, module.cell_projection),
    ):
        expected = torch.tanh(layer.weight @ given[0, 0] + layer.bias)
        torch.testing.assert_close(made[0, 0], expected)


@pytest.mark.paper
def test_mean_is_tanh_of_a_projection_of_the_real_states_mean() -> None:
    values = torch.tensor([[[1.0, 2, 3, 4], [3, 4, 5, 6], [99, 99, 99, 99]]])
    mean = masked_mean(values, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(mean, torch.tensor([[2.0, 3, 4, 5]]))
    module = bridge("mean")
    state = module(FINAL, mean)
    for made, layer in (
        (state.hidden, module.hidden_projection),
        (state.cell, module.cell_projection),
    ):
        torch.testing.assert_close(made[0, 0], torch.tanh(layer.weight @ mean[0] + layer.bias))


def test_the_mean_of_nothing_is_zeros() -> None:
    values = torch.ones(2, 3, 4, requires_grad=True)
    mean = masked_mean(values, torch.tensor([[True, False, False], [False, False, False]]))
    torch.testing.assert_close(mean, torch.tensor([[1.0] * 4, [0.0] * 4]))
    mean.sum().backward()
    assert values.grad is not None
    assert values.grad.sum() == 4


@pytest.mark.parametrize("kind", ["zero", "last", "last_hidden", "mean", "learned"])
def test_a_decoder_without_cell_gets_none(kind: str) -> None:
    assert bridge(kind, "gru")(FINAL, torch.ones(1, 4)).cell is None


@pytest.mark.parametrize("kind", ["last", "last_hidden"])
def test_an_encoder_without_cell_leaves_zeros(kind: str) -> None:
    state = bridge(kind)(RNNState(FINAL.hidden, None))
    assert state.cell is not None
    assert (state.cell == 0).all()
