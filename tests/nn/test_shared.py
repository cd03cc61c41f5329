"""Products that the steps of a loop share: autograd's values and gradients, in one product."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from jumok.config import resolve
from jumok.nn import Seq2Seq
from jumok.nn.cross_entropy import linear_cross_entropy
from jumok.nn.memory import RNNState
from jumok.nn.rnn import RNN
from jumok.nn.shared import Shared

STEPS = 4
SHAPES = {"a weight": (5, 3, 2), "a batch of matrices": (2, 3, 1, 5, 4)}
"""Sizes: [*batch, rows, inner, columns]."""


def tensors(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """x of every step, the matrix, and what is added."""
    *batch, rows, inner, columns = shape
    torch.manual_seed(0)
    sizes = [(STEPS, *batch, rows, inner), (*batch, inner, columns), (STEPS, *batch, rows, columns)]
    x, matrix, added = (
        torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes
    )
    return x, matrix, added


def loop(x: Tensor, matrix: Tensor, added: Tensor) -> list[Tensor]:
    """Each step reads what the step before made."""
    shared, made = Shared(matrix, added), x.new_zeros(())
    steps = []
    for one in x:
        made = shared(one + made.sum().tanh())
        steps.append(made)
    return steps


def plain(x: Tensor, matrix: Tensor, added: Tensor) -> list[Tensor]:
    made, steps = x.new_zeros(()), []
    for one, other in zip(x, added, strict=True):
        made = (one + made.sum().tanh()) @ matrix + other
        steps.append(made)
    return steps


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_it_is_the_product(shape: tuple[int, ...]) -> None:
    given = tensors(shape)
    probe = torch.randn_like(given[2])
    found = []
    for way in (loop, plain):
        made = torch.stack(way(*given))
        found.append([made, *torch.autograd.grad((made * probe).sum(), given)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_by_small_differences(shape: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(lambda *given: torch.stack(loop(*given)), tensors(shape))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_was_asked_before_leaves_nothing_behind(shape: tuple[int, ...]) -> None:
    """A gradient of some inputs through some steps, then of others through others."""
    given = tensors(shape)
    shared, expected = loop(*given), plain(*given)
    for wanted, step in (((0,), 3), ((1,), 1), ((0, 1, 2), 2), ((1,), 3)):
        inputs = [given[number] for number in wanted]
        found = [
            torch.autograd.grad(steps[step].sum(), inputs, retain_graph=True)
            for steps in (shared, expected)
        ]
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frozen", range(3))
def test_what_does_not_learn_gets_no_gradient(frozen: int) -> None:
    given = tensors(SHAPES["a weight"])
    given[frozen].requires_grad_(False)
    learning = [tensor for tensor in given if tensor.requires_grad]
    found = [torch.autograd.grad(way(*given)[-1].sum(), learning) for way in (loop, plain)]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("node", ["products", "loss"])
@pytest.mark.parametrize("linear", [True, False])
def test_a_second_derivative_is_refused_and_not_wrong(node: str, linear: bool) -> None:
    """Also where the gradient that comes in is a constant."""
    x, matrix, added = tensors(SHAPES["a weight"])
    if node == "products":
        made = Shared(matrix, added)(x[0])
    else:
        targets, bias = torch.zeros(5, dtype=torch.long), added[0, 0]
        made = linear_cross_entropy(x[0], matrix.t(), bias, targets, chunk=1)
    value = made.sum() if linear else made.square().sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(value, [x], create_graph=True)


def test_a_turned_matrix_has_its_gradient_as_it_lies_itself() -> None:
    """Else it would be copied number by number for the weight."""
    x, matrix, added = tensors(SHAPES["a weight"])
    weight = matrix.detach().t().contiguous().requires_grad_()
    [found] = torch.autograd.grad(loop(x, weight.t(), added)[-1].sum(), [weight])
    assert found.is_contiguous()


def test_what_is_changed_after_the_product_is_noticed() -> None:
    x, matrix, added = tensors(SHAPES["a weight"])
    read = x[0] * 1.0
    value = Shared(matrix, added)(read).sum()
    read.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_what_the_steps_read_goes_with_the_backward_pass() -> None:
    given = tensors(SHAPES["a weight"])
    shared, rows = Shared(*given[1:]), [one * 1.0 for one in given[0]]
    value = torch.stack([shared(row) for row in rows]).sum()
    alive = [weakref.ref(row.untyped_storage()) for row in rows]
    del rows
    assert all(one() is not None for one in alive)
    value.backward()
    gc.collect()
    assert not any(one() is not None for one in alive)


class Shapes(TorchDispatchMode):
    """The shapes of what torch's matrix products gave."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "mm" in str(func):
            self.made.append(tuple(result.shape))
        return result


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_matrix_has_its_gradient_from_one_product(shape: tuple[int, ...]) -> None:
    given = tensors(shape)
    shared = Shared(given[1], given[2])
    value = torch.stack([shared(one) for one in given[0]]).square().sum()
    with Shapes() as shapes:
        value.backward()
    sizes = [torch.Size(made).numel() for made in shapes.made]
    assert sizes.count(given[1].numel()) == 1
    assert len(sizes) == STEPS + 1


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("known", [0, 2, 3])
def test_cells_are_torchs(cell: Any, known: int) -> None:
    """Whatever part of the input is there before the loop, in a stack of two layers."""
    torch.manual_seed(0)
    stack = RNN(cell, 3, 4, layers=2, dropout=0.0).double()
    inputs = torch.randn(STEPS, 5, 3, dtype=torch.float64, requires_grad=True)
    first = torch.randn(5, 2, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for share in (True, False):
        state = RNNState(first, first.tanh() if cell == "lstm" else None)
        shared = stack.share(inputs[:, :, :known] if known else None, (STEPS, 5))
        made = []
        for one in inputs:
            top, state = (
                stack.step(one[:, known:], state, shared) if share else stack.step(one, state)
            )
            made.append(top)
        total = torch.stack(made).square().sum() + state.hidden.sum()
        total = total if state.cell is None else total + state.cell.sum()
        found.append([total, *torch.autograd.grad(total, [inputs, first, *stack.parameters()])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_loop_has_the_gradient_of_what_projects_its_queries_from_one_product() -> None:
    torch.manual_seed(0)
    score = {"model.attention.score": "additive", "model.attention.hidden": 11}
    model = Seq2Seq(resolve(settings=score).model, 30, 30)
    assert model.decoder.attention is not None
    weight = model.decoder.attention.query_projection.weight
    tokens, lengths = torch.randint(4, 30, (8, 9)), torch.full((8,), 9)
    value = model(tokens, lengths, tokens).features.square().sum()
    with Shapes() as shapes:
        [found] = torch.autograd.grad(value, [weight])
    assert found.shape == weight.shape
    assert sum(sorted(made) == sorted(weight.shape) for made in shapes.made) == 1


def test_in_bfloat16_the_shared_cell_adds_up_what_bfloat16_would_lose() -> None:
    """1,000 steps that each add 0.001 to the cell: bfloat16 alone stops at 0.5."""
    stack = RNN("lstm", 1, 2, layers=1, dropout=0.0)
    for parameter in stack.parameters():
        torch.nn.init.zeros_(parameter)
    [layer] = stack.layers
    with torch.no_grad():
        layer.bias_ih_l0.copy_(torch.tensor([40.0, 40, 40, 40, 0.001, 0.001, 40, 40]))
    state = RNNState(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        shared = stack.share(None, (1000, 1))
        for _ in range(1000):
            _, state = stack.step(torch.zeros(1, 1), state, shared)
    assert state.cell is not None
    assert float(state.cell.detach()[0, 0, 0]) == pytest.approx(1.0, rel=0.01)


def test_in_bfloat16_gradients_are_those_of_the_plain_road_to_its_rounding() -> None:
    torch.manual_seed(0)
    model = Seq2Seq(resolve(settings={}).model, 30, 30)
    source, lengths = torch.randint(4, 30, (8, 9)), torch.full((8,), 9)
    found: dict[bool, list[Tensor]] = {}
    for fast in (True, False):
        model.use_fast_roads(fast)
        with torch.autocast("cpu", torch.bfloat16):
            features = model(source, lengths, source).features
        parameters = [p for name, p in model.named_parameters() if "readout" not in name]
        found[fast] = list(torch.autograd.grad(features.float().square().sum(), parameters))
    for one, other in zip(found[True], found[False], strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < 0.03
