"""Every fast road gives what the plain one gives: values, states and gradients."""

from __future__ import annotations

import copy
import pkgutil
from contextlib import ExitStack
from typing import Any, cast
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from jumok.config import resolve
from jumok.errors import ConfigError
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
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), more=st.integers(0, 3))
def test_running_over_padding_equals_packing_it_away(
    cell: str, bidirectional: bool, lengths: list[int], more: int
) -> None:
    layer = one_layer(cell, bidirectional)
    width = max(lengths) + more
    inputs = torch.randn(len(lengths), width, 3, dtype=torch.float64)
    beyond = ~length_mask(torch.tensor(lengths), width)
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


TILED, ONE_TILE = "jumok.nn.additive._Tiled.apply", "jumok.nn.additive._OneTile.apply"
STEP, AT_ONCE = "jumok.nn.shared._Step.apply", "jumok.nn.decoder.Decoder._forward_at_once"
ROADS = {
    "jumok.nn.sequence._over_padding",
    "jumok.nn.cross_entropy._InChunks.apply",
    TILED,
    ONE_TILE,
    STEP,
    AT_ONCE,
}


@pytest.mark.parametrize(
    ("axes", "unused"),
    [
        ({"score": "additive", "input_feeding": False}, {ONE_TILE, STEP}),
        ({"score": "additive"}, {AT_ONCE, TILED}),
        ({"score": "general"}, {AT_ONCE, TILED, ONE_TILE}),
        ({"score": "scaled_dot", "heads": 2, "coverage": True}, {AT_ONCE, TILED, ONE_TILE}),
        ({"score": "additive", "timing": "mid", "context": "rnn_input"}, {AT_ONCE, TILED}),
        ({"score": "general", "input_feeding": False}, {TILED, ONE_TILE, STEP}),
        ({"score": "none", "input_feeding": False}, {TILED, ONE_TILE, STEP}),
    ],
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_model_on_plain_roads_equals_itself_on_fast_ones(
    axes: dict[str, object], unused: set[str], cell: str
) -> None:
    """And the switch is one: the fast roads are taken, and then they are not."""
    tree = {f"model.{side}.cell": cell for side in ("encoder", "decoder")}
    tree |= {f"model.attention.{name}": value for name, value in axes.items()}
    torch.manual_seed(0)
    model = Seq2Seq(resolve(settings=tree).model, 30, 8000).double()
    initialise(model)
    source, target = torch.randint(4, 30, (20, 20)), torch.randint(4, 8000, (20, 20))
    lengths = torch.randint(16, 21, (20,))
    mask = length_mask(torch.randint(15, 21, (20,)), 20)
    found = []
    for fast in (True, False):
        model.use_fast_roads(fast)
        with ExitStack() as stack:
            watched = {
                road: stack.enter_context(mock.patch(road, wraps=pkgutil.resolve_name(road)))
                for road in ROADS - {AT_ONCE}
            }
            at_once = model.decoder._forward_at_once
            watched[AT_ONCE] = stack.enter_context(
                mock.patch.object(model.decoder, "_forward_at_once", wraps=at_once)
            )
            value = sequence_loss(model, model(source, lengths, target), target, mask, 0.1)
        taken = {road for road, watch in watched.items() if watch.called}
        assert taken == (ROADS - unused if fast else set())
        found.append([value, *torch.autograd.grad(value, list(model.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 21, 10**9])
def test_a_loss_in_chunks_is_torchs(smoothing: float, chunk: int) -> None:
    torch.manual_seed(0)
    x, weight = (torch.randn(n, 3, dtype=torch.float64) for n in (10, 7))
    bias, targets = torch.randn(7, dtype=torch.float64), torch.randint(0, 7, (10,))
    arguments = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    ours = linear_cross_entropy(x, weight, bias, targets, smoothing, chunk=chunk)
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
        return linear_cross_entropy(*tensors, targets, 0.1, chunk=14)

    assert torch.autograd.gradcheck(value, (x, weight, bias))


class Sizes(TorchDispatchMode):
    """How many numbers each result of torch has, and how many matrix products there are."""

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.products = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.products += "mm" in str(func)
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def test_a_loss_in_chunks_never_holds_all_logits_and_makes_only_what_is_needed() -> None:
    rows, vocab, size = 512, 4096, 8
    x, weight, bias = torch.randn(rows, size), torch.randn(vocab, size), torch.zeros(vocab)
    targets = torch.zeros(rows, dtype=torch.long)
    products = {}
    for learning in ((), (x,), (weight,), (x, weight)):
        for tensor in (x, weight):
            tensor.requires_grad_(any(tensor is one for one in learning))
        with Sizes() as sizes:
            linear_cross_entropy(x, weight, bias, targets, chunk=1 << 17)
        assert sizes.largest == 1 << 17
        products[len(learning), weight.requires_grad] = sizes.products
    chunks = rows * vocab >> 17
    assert products == {
        (0, False): chunks,
        (1, False): 2 * chunks,
        (1, True): 2 * chunks,
        (2, True): 3 * chunks,
    }
    with torch.no_grad(), Sizes() as sizes:
        linear_cross_entropy(x, weight, bias, targets, chunk=1 << 17)
    assert sizes.products == chunks


def test_chunks_are_cut_where_products_are_fast() -> None:
    x, weight, targets = torch.randn(130, 3), torch.randn(8, 3), torch.zeros(130, dtype=torch.long)
    with torch.no_grad(), Sizes() as sizes:
        linear_cross_entropy(x, weight, torch.zeros(8), targets, chunk=100 * 8)
    assert (sizes.products, sizes.largest) == (3, 64 * 8)  # 64, 64 and 2 rows, not 100 and 30


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
@pytest.mark.parametrize("cell", KINDS)
def test_in_bfloat16_a_model_keeps_its_state_in_float32(bridge: str, score: str, cell: str) -> None:
    tree = {"model.decoder.bridge": bridge, "model.attention.score": score}
    tree |= {f"model.{side}.cell": cell for side in ("encoder", "decoder")}
    model = Seq2Seq(resolve(settings=tree).model, 9, 10)
    source = torch.randint(4, 9, (2, 5))
    with torch.autocast("cpu", torch.bfloat16):
        memory = model.encode(source, torch.tensor([5, 4]))
        made = model.decoder.step(source[:, 0], model.decoder.init_state(memory), memory)
    assert made.state.rnn.hidden.dtype == torch.float32
    if cell == "lstm":
        assert made.state.rnn.cell is not None and made.state.rnn.cell.dtype == torch.float32
    assert made.logits.dtype == torch.bfloat16  # and so bfloat16 is what was multiplied


def test_in_bfloat16_a_window_is_where_it_is_counted() -> None:
    """bfloat16 cannot count beyond 256."""
    axes = {"model.attention.scope": "local_m", "model.attention.window": 2}
    model = Seq2Seq(resolve(settings=axes).model, 9, 10)
    source = torch.randint(4, 9, (1, 400))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        memory = model.encode(source, torch.tensor([400]))
        state = model.decoder.init_state(memory)._replace(position=torch.tensor([300]))
        made = model.decoder.step(source[:, 0], state, memory)
    assert made.weights is not None
    assert made.weights[0].nonzero()[:, 0].tolist() == [298, 299, 300, 301, 302]


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"coverage": True},
        {"coverage": True, "location_width": 3, "score": "additive"},
        {"location_width": 3, "heads": 2},
        {"scope": "local_p", "window": 2},
        {"timing": "mid", "context": "rnn_input"},
    ],
    ids=lambda axes: "-".join(axes) or "default",
)
@pytest.mark.parametrize("fast", [True, False])
def test_a_model_of_bfloat16_runs(axes: dict[str, object], fast: bool) -> None:
    """And rounds what the model of float32 with its weights gives; sums of weights stay float32."""
    tree = {f"model.attention.{name}": value for name, value in axes.items()}
    torch.manual_seed(0)
    model = Seq2Seq(resolve(settings=tree).model, 9, 10).eval()
    initialise(model)
    model.bfloat16().use_fast_roads(fast)
    batch = torch.randint(4, 9, (2, 5)), torch.tensor([5, 4]), torch.randint(4, 9, (2, 5))
    made = model(*batch)
    assert made.features.dtype == torch.bfloat16
    first = model.decoder.init_state(model.encode(*batch[:2])).past
    assert first is None or first.dtype == torch.float32
    made.features.sum().backward()
    exact = copy.deepcopy(model).float()(*batch)
    torch.testing.assert_close(made.features.float(), exact.features, rtol=0.1, atol=0.02)


def test_products_are_rounded_on_devices_that_have_it() -> None:
    with pytest.raises(ConfigError, match=r"train\.precision=bf16 is for train\.device=cpu and cu"):
        resolve(settings={"train.precision": "bf16", "train.device": "mps"})
    with pytest.raises(ConfigError, match=r"train\.precision=tf32 is for train\.device=cuda, but"):
        resolve(settings={"train.precision": "tf32"})
    for precision in ("bf16", "tf32"):
        resolve(settings={"train.precision": precision, "train.device": "cuda:1"})
