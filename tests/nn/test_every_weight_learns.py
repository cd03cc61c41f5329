"""No weight is there in vain: each has a gradient, which processes that train together rely on."""

from __future__ import annotations

import pytest
import torch
from test_forward_equals_steps import COMBINATIONS

from jumok.config import ModelConfig, resolve
from jumok.nn import OwnTokens, Seq2Seq
from jumok.nn.masks import length_mask
from jumok.training.loss import sequence_loss

TEXT = 7
"""Source ids from here on are features, where there are any."""
SOURCE = torch.tensor([[7, 5, 6, 4, 2], [8, 4, 2, 0, 0], [7, 2, 0, 0, 0]])
LENGTHS = torch.tensor([5, 3, 2])
GIVEN = torch.tensor([[1, 4, 5, 6], [1, 6, 4, 4], [1, 5, 5, 6]])
WANTED = torch.tensor([[4, 5, 6, 2], [6, 4, 4, 2], [5, 5, 6, 2]])
MORE = {
    "copying": {"model.attention.copy_tokens": True},
    "features apart": {"model.encoder.features": "apart", "model.encoder.layer_norm": True},
    "states alone are read": {
        "model.attention.score": "none",
        "model.attention.input_feeding": False,
        "model.encoder.layers": 3,
        "model.encoder.layer_norm": True,
        "model.encoder.residual": True,
    },
    "a mean of what is handed up": {
        "model.attention.score": "none",
        "model.attention.input_feeding": False,
        "model.encoder.layer_norm": True,
        "model.decoder.bridge": "mean",
    },
}


def without_gradient(config: ModelConfig, fast: bool, bf16: bool = False, own: bool = False):
    torch.manual_seed(1)
    apart = config.encoder.features == "apart"
    model = Seq2Seq(config, 9, 7, TEXT if apart else None)
    model.use_fast_roads(fast)
    copies = SOURCE.clamp(max=6) if config.attention.copy_tokens else None
    given = torch.ones_like(GIVEN, dtype=torch.bool)
    given[:, 2] = not own
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = model(SOURCE, LENGTHS, GIVEN, copies, OwnTokens(given, False, 3) if own else None)
        mask = length_mask(torch.tensor([4, 3, 2]), 4)
        sequence_loss(model, output, WANTED, mask, 0.1, copies).backward()
    return [name for name, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize("config", COMBINATIONS[::5], ids=lambda c: "")
def test_every_combination(config: ModelConfig) -> None:
    assert without_gradient(config, fast=True) == []


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("fast", [True, False])
def test_what_stands_beside(name: str, fast: bool) -> None:
    sizes = {f"model.{side}.{size}": 8 for side in ("encoder", "decoder")
             for size in ("embedding", "hidden")}  # fmt: skip
    assert without_gradient(resolve(settings={**sizes, **MORE[name]}).model, fast) == []


@pytest.mark.parametrize("config", COMBINATIONS[::29], ids=lambda c: "")
@pytest.mark.parametrize("fast", [True, False])
def test_own_tokens_in_bfloat16(config: ModelConfig, fast: bool) -> None:
    """The readout is asked for a token before it is asked for the loss."""
    assert without_gradient(config, fast, bf16=True, own=True) == []
