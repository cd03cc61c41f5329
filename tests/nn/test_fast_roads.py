"""Every fast road gives what the plain one gives: values, states and gradients."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from jumok.config import resolve
from jumok.nn import Seq2Seq, initialise
from jumok.nn.cross_entropy import linear_cross_entropy
from jumok.nn.masks import length_mask
from jumok.nn.memory import RNNState
from jumok.nn.rnn import RNN
from jumok.nn.sequence import _over_padding, run_layer
from jumok.training.loss import sequence_loss

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def one_layer(cell: str, bidirectional: bool, dtype: torch.dtype = torch.float64) -> nn.RNNBase:
    torch.manual_seed(0)
    layer = KINDS[cell](3, 4, bidirectional=bidirectional, batch_first=True).to(dtype)
    return cast(nn.RNNBase, layer)


@pytest.mark.parametrize("cell", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_running_over_padding_equals_packing_it_away(
    cell: str, bidirectional: bool, lengths: list[int]
) -> None:
    layer = one_layer(cell, bidirectional)
    inputs = torch.randn(len(lengths), max(lengths), 3, dtype=torch.float64)
    beyond = ~length_mask(torch.tensor(lengths), max(lengths))
    inputs[beyond] *= 100.0  # what stands at padding has no influence
    inputs.requires_grad_()
    packed = run_layer(layer, inputs, lengths=torch.tensor(lengths), fast=False)
    over = _over_padding(layer, inputs, torch.tensor(lengths))
    probes = None
    found = []
    for outputs, last in (packed, over):
        parts = [outputs, *(last if isinstance(last, tuple) else [last])]
        probes = probes or [torch.randn_like(part) for part in parts]
        total = sum((part * probe).sum() for part, probe in zip(parts, probes, strict=True))
        found.append([*parts, *torch.autograd.grad(total, [inputs, *layer.parameters()])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert (found[1][0][beyond] == 0).all()


def test_a_frozen_cell_is_exactly_the_last_one_also_after_long_padding() -> None:
    layer = one_layer("lstm", True, torch.float32)
    inputs = torch.randn(2, 400, 3)
    lengths = torch.tensor([400, 3])
    _, (hidden, cell) = _over_padding(layer, inputs, lengths)
    _, (alone_hidden, alone_cell) = layer(inputs[1:, :3])
    torch.testing.assert_close(hidden[:, 1:], alone_hidden, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(cell[:, 1:], alone_cell, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "axes",
    [
        {"model.attention.score": "additive", "model.attention.input_feeding": False},
        {"model.attention.score": "general"},
        {"model.attention.score": "none", "model.attention.input_feeding": False},
        {"model.encoder.cell": "gru", "model.decoder.cell": "gru", "model.decoder.layers": 2},
    ],
)
def test_a_model_on_plain_roads_equals_itself_on_fast_ones(axes: dict[str, object]) -> None:
    sizes = {f"model.{side}.{size}": 40 for side in ("encoder", "decoder") for size in SIZES}
    torch.manual_seed(0)
    model = Seq2Seq(resolve(settings={**sizes, **axes}).model, 30, 5000).double()
    initialise(model)
    source, target = torch.randint(4, 30, (20, 12)), torch.randint(4, 5000, (20, 30))
    lengths = torch.randint(8, 13, (20,))
    mask = length_mask(torch.randint(20, 31, (20,)), 30)
    found = []
    for fast in (True, False):
        model.use_fast_roads(fast)
        value = sequence_loss(model, model(source, lengths, target), target, mask, 0.1)
        found.append([value, *torch.autograd.grad(value, list(model.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


SIZES = ("embedding", "hidden")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 21, 10**9])
def test_a_loss_in_chunks_is_torchs(smoothing: float, chunk: int) -> None:
    torch.manual_seed(0)
    x, weight = (torch.randn(n, 3, dtype=torch.float64) for n in (10, 7))
    bias, targets = torch.randn(7, dtype=torch.float64), torch.randint(0, 7, (10,))
    arguments = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    ours = linear_cross_entropy(x, weight, bias, targets, smoothing, chunk)
    logits = nn.functional.linear(x, weight, bias)
    torchs = nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    torch.testing.assert_close(ours, torchs)
    found = [torch.autograd.grad(3 * value, arguments) for value in (ours, torchs)]
    torch.testing.assert_close(*found)


def test_a_loss_in_chunks_by_small_differences() -> None:
    torch.manual_seed(0)
    x, weight = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (5, 7))
    bias = torch.randn(7, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 7, (5,))

    def value(*tensors: Tensor) -> Tensor:
        return linear_cross_entropy(*tensors, targets, 0.1, 14)

    assert torch.autograd.gradcheck(value, (x, weight, bias))
    with torch.no_grad():
        torch.testing.assert_close(value(x, weight, bias), value(x, weight, bias).detach())


def test_a_loss_in_chunks_never_holds_all_logits() -> None:
    """What the graph keeps is the gradient alone."""
    rows, vocab, size = 512, 4096, 8
    x, weight = torch.randn(rows, size), torch.randn(vocab, size)
    arguments = (x.requires_grad_(), weight.requires_grad_(), torch.zeros(vocab))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        linear_cross_entropy(*arguments, torch.zeros(rows, dtype=torch.long), chunk=1 << 16)
    assert sum(kept) < rows * vocab / 4


def test_in_bfloat16_the_cell_adds_up_what_bfloat16_would_lose() -> None:
    """1,000 steps that each add 0.001 to the cell: bfloat16 alone stops at 0.5."""
    decoder = RNN("lstm", 1, 2, layers=1, dropout=0.0)
    encoder = nn.LSTM(1, 2, batch_first=True)
    for layer in (cast(nn.LSTM, decoder.layers[0]), encoder):
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        with torch.no_grad():
            layer.bias_ih_l0.copy_(torch.tensor([40.0, 40, 40, 40, 0.001, 0.001, 40, 40]))
    state = RNNState(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(1000):
            _, state = decoder.step(torch.zeros(1, 1), state)
        _, (_, cell) = run_layer(encoder, torch.zeros(1, 1000, 1))
    assert state.cell is not None
    assert state.cell[0, 0, 0] == pytest.approx(1.0, rel=0.01)
    assert cell[0, 0, 0] == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("bridge", ["learned", "mean", "zero"])
@pytest.mark.parametrize("score", ["general", "additive"])
def test_in_bfloat16_a_model_keeps_its_state_in_float32(bridge: str, score: str) -> None:
    model = Seq2Seq(
        resolve(settings={"model.decoder.bridge": bridge, "model.attention.score": score}).model,
        9,
        10,
    )
    source = torch.randint(4, 9, (2, 5))
    with torch.autocast("cpu", torch.bfloat16):
        memory = model.encode(source, torch.tensor([5, 4]))
        made = model.decoder.step(source[:, 0], model.decoder.init_state(memory), memory)
    assert made.state.rnn.hidden.dtype == torch.float32
    assert made.state.rnn.cell is not None and made.state.rnn.cell.dtype == torch.float32
    assert made.logits.dtype == torch.bfloat16  # and so bfloat16 is what was multiplied
