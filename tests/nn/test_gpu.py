"""On a GPU, fast roads give what the plain ones give on a CPU, in values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_every_weight_learns import MORE
from test_forward_equals_steps import COMBINATIONS

from jumok.config import ModelConfig, resolve
from jumok.data import Batch
from jumok.nn import OwnTokens, Seq2Seq
from jumok.nn.additive import additive_score
from jumok.nn.arithmetic import gpu_arithmetic
from jumok.nn.cross_entropy import LEFT_OUT, linear_cross_entropy
from jumok.nn.masks import length_mask
from jumok.training.graphs import Graphs, Tensors, to_device
from jumok.training.loss import coverage_loss, sequence_loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

TEXT = 27
"""Source ids from here on are features, where there are any."""
SIZES = {
    f"model.{side}.{size}": 8 for side in ("encoder", "decoder") for size in ("embedding", "hidden")
}


def losses(model: Seq2Seq, device: str, own: bool) -> list[torch.Tensor]:
    """Loss and gradients of one batch, which is the same for all."""
    draw = torch.Generator().manual_seed(1)
    source = torch.randint(4, 30, (9, 11), generator=draw)
    target, wanted = torch.randint(4, 31, (2, 9, 7), generator=draw).unbind()
    lengths = torch.tensor([11, 1, 2, 3, 11, 7, 8, 5, 4])
    mask = length_mask(torch.tensor([7, 1, 2, 7, 3, 5, 6, 0, 7]), 7)
    copies = source.clamp(max=33) if model.decoder.config.attention.copy_tokens else None
    given = torch.rand(9, 7, generator=draw) < 0.5
    given[:, 0] = True
    model = model.to(device)
    there = [x if x is None else x.to(device) for x in (source, lengths, target, copies)]
    tokens = OwnTokens(given.to(device), False, 3) if own else None
    output = model(*there, tokens)
    mask, wanted = mask.to(device), wanted.to(device)
    loss = sequence_loss(model, output, wanted, mask, 0.1, there[3])
    if output.weights is not None:
        loss = loss + 0.1 * coverage_loss(output.weights, mask)
    return [part.cpu() for part in (loss, *torch.autograd.grad(loss, list(model.parameters())))]


def compare(config: ModelConfig, dtype: torch.dtype, own: bool = False) -> None:
    torch.manual_seed(1)
    apart = config.encoder.features == "apart"
    model = Seq2Seq(config, 30, 31, TEXT if apart else None)
    model.use_fast_roads(False)
    wanted = losses(model.double(), "cpu", own)
    model.use_fast_roads(True)
    with gpu_arithmetic(torch.device("cuda")):
        found = losses(model.to(dtype), "cuda", own)
    names = ["loss", *(name for name, _ in model.named_parameters())]
    largest = max(float(part.norm()) for part in wanted[1:])
    for name, one, other in zip(names, found, wanted, strict=True):
        error = float((one.double() - other).norm())
        # a gradient that is next to nothing among the others is a difference of large numbers
        assert error <= ERRORS[dtype] * max(float(other.norm()), 0.01 * largest), name


ERRORS = {torch.float64: 1e-9, torch.float32: 1e-4}
"""TF32 would be off by 1e-3."""


@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("config", COMBINATIONS[::7], ids=lambda c: "")
def test_every_combination(config: ModelConfig, dtype: torch.dtype) -> None:
    compare(config, dtype)


@pytest.mark.parametrize("config", [*COMBINATIONS[::23], *MORE], ids=lambda c: "")
def test_recorded_gradients_are_those_that_are_not(config: ModelConfig | str) -> None:
    if isinstance(config, str):
        config = resolve(settings={**SIZES, **MORE[config]}).model
    torch.manual_seed(1)
    model = Seq2Seq(config, 30, 31, TEXT if config.encoder.features == "apart" else None).cuda()

    def learn(batch: Tensors, weight: Any, given: Any) -> torch.Tensor:
        own = None
        if given is not None:
            own = OwnTokens(batch.target_in % 2 == 0, False, 3)
        output = model(batch.source, batch.lengths, batch.target_in, batch.copies, own)
        loss = sequence_loss(model, output, batch.target_out, batch.mask, 0.1, batch.copies)
        (loss * weight).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    graphs = Graphs(model, 5, tell=print)
    draw = np.random.default_rng(1)
    copying = config.attention.copy_tokens
    for given in (None, 0.5):
        for turn in range(4):  # not recorded, recorded, and other numbers in the same places
            source = draw.integers(4, 30, (5, 6))
            target_in, target_out = draw.integers(4, 31, (2, 5, 4))
            lengths, target_lengths = draw.integers(1, 7, 5), draw.integers(1, 5, 5)
            copies = np.minimum(source, 33) if copying else None
            every = source, lengths, target_in, target_out, target_lengths, np.arange(5), copies
            batch, found = Batch(*every), []
            there = to_device(batch, torch.device("cuda"))
            for recorded in (True, False):
                model.zero_grad(set_to_none=False)
                product = graphs(learn, batch, 0.5, given) if recorded else learn(there, 0.5, given)
                found.append([product, *(p.grad.clone() for p in model.parameters())])
            assert graphs.recorded == (turn > 0) + (given is not None)
            for one, other in zip(*found, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("name", MORE)
def test_what_stands_beside(name: str, dtype: torch.dtype) -> None:
    compare(resolve(settings={**SIZES, **MORE[name]}).model, dtype)


@pytest.mark.parametrize("config", COMBINATIONS[::41], ids=lambda c: "")
def test_own_tokens(config: ModelConfig) -> None:
    compare(config, torch.float64, own=True)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("score", ["general", "additive"])
def test_usual_sizes(cell: str, score: str) -> None:
    settings: dict[str, Any] = {f"model.{side}.cell": cell for side in ("encoder", "decoder")}
    compare(resolve(settings={**settings, "model.attention.score": score}).model, torch.float32)


def test_float32_is_rounded_where_that_is_asked_for_alone() -> None:
    torch.manual_seed(1)
    x = torch.randn(64, 1, 512, device="cuda")
    weight = torch.randn(512, 512, device="cuda") / 22
    layer = torch.nn.LSTM(512, 512, batch_first=True).cuda()

    def results() -> list[torch.Tensor]:
        with torch.no_grad():
            return [x @ weight, layer(x)[0]]

    before, found = results(), []
    for rounded in (False, True):
        with gpu_arithmetic(torch.device("cuda"), rounded):
            found.append(results())
    after = results()
    x, weight, layer = x.double(), weight.double(), layer.double()
    for number, exact in enumerate(results()):
        errors = [float((one[number] - exact).norm() / exact.norm()) for one in found]
        assert errors[0] < 1e-5 < errors[1] < 1e-2
        assert torch.equal(before[number], after[number])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("fast", [True, False])
def test_in_bfloat16_products_are_rounded_and_states_are_not(cell: str, fast: bool) -> None:
    tree = {f"model.{side}.cell": cell for side in ("encoder", "decoder")}
    torch.manual_seed(1)
    model = Seq2Seq(resolve(settings={**tree, "model.attention.score": "additive"}).model, 30, 31)
    model.use_fast_roads(False)
    wanted = losses(model.double(), "cpu", own=False)
    model.use_fast_roads(fast)
    states = []
    advance = model.decoder._advance

    def watched(*arguments: Any) -> Any:
        made = advance(*arguments)
        states.append(made.state.rnn)
        return made

    model.decoder._advance = watched  # type: ignore[method-assign]
    with torch.autocast("cuda", torch.bfloat16):
        found = losses(model.float(), "cuda", own=False)
    assert len(states) == 7
    for state in states:
        assert state.hidden.dtype == torch.float32
        assert state.cell is None or state.cell.dtype == torch.float32
    for one, other in zip(found, wanted, strict=True):
        assert (one.double() - other).norm() <= 0.05 * max(other.norm(), torch.tensor(0.01))


def test_the_additive_score_holds_no_inner_tensor() -> None:
    torch.manual_seed(1)
    query, keys = torch.randn(2, 4, 300, 128, device="cuda").unbind()
    v = torch.randn(128, device="cuda")
    inputs = [x.detach().requires_grad_() for x in (query, keys, v)]
    wanted = additive_score(*(x.detach().cpu() for x in inputs))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    scores = additive_score(*inputs)
    scores.sum().backward()
    most = torch.cuda.max_memory_allocated() - before
    assert most < 4 * 300 * 300 * 128 * 4 / 10
    torch.testing.assert_close(scores.detach().cpu(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_in_chunks(precision: str) -> None:
    torch.manual_seed(1)
    arguments = [torch.randn(n, 8, device="cuda", requires_grad=True) for n in (50, 70)]
    arguments.append(torch.randn(70, device="cuda", requires_grad=True))
    targets = torch.randint(0, 70, (50,), device="cuda")
    targets[::3] = LEFT_OUT
    found = []
    for chunk in (70 * 9, 70 * 50):
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            loss = linear_cross_entropy(*arguments, targets, 0.1, chunk=chunk)
        found.append([loss, *torch.autograd.grad(loss, arguments)])
    error = 1e-5 if precision == "fp32" else 1e-2
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() <= error * other.norm()
