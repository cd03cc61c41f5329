"""The additive score in tiles against the formula written out, in values and gradients.

That the formula is the paper's is tested in test_paper_attention.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jumok.nn import additive
from jumok.nn.additive import additive_score

SMALL_TILE = 48


def written_out(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    """Bahdanau et al. 2015, A.1.2, without a product of matrices."""
    inner = torch.tanh(query[..., :, None, :] + keys[..., None, :, :])
    return (v[..., None, None, :] * inner).sum(dim=-1)


def gradients(
    score: object, inputs: tuple[Tensor, ...], d: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    leaves = tuple(x.detach().clone().requires_grad_() for x in inputs)
    result = score(*leaves)  # type: ignore[operator]
    return result.detach(), torch.autograd.grad(result, leaves, d)


def made(*shape: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (scale * torch.randn(*shape, dtype=torch.float64, generator=generator)).to(dtype)


@pytest.fixture(params=[SMALL_TILE, additive._TILE], ids=["many tiles", "one tile"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that a few numbers need many tiles, or one; and that nothing is written out."""
    monkeypatch.setattr(additive, "_TILE", request.param)
    monkeypatch.setattr(additive, "_WRITTEN_OUT", 0)


lengths = st.integers(1, 11)


@pytest.mark.paper
@pytest.mark.usefixtures("tiles")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batch=st.lists(st.integers(1, 4), max_size=2),
    heads=st.sampled_from([(), (1,), (3,)]),
    tgt_len=lengths,
    src_len=lengths,
    # a tile is one number, a few keys, one key, less than a key
    size=st.sampled_from([1, 2, 5, 16, SMALL_TILE - 1, SMALL_TILE, SMALL_TILE + 1]),
    scale=st.sampled_from([1.0, 30.0, 1000.0]),
)
def test_values_and_gradients_are_the_formulas(
    batch: list[int], heads: tuple[int, ...], tgt_len: int, src_len: int, size: int, scale: float
) -> None:
    inputs = (
        made(*batch, *heads, tgt_len, size, scale=scale),
        made(*batch, *heads, src_len, size, scale=scale),
        made(*heads, size),
    )
    d = made(*batch, *heads, tgt_len, src_len)
    torch.testing.assert_close(
        gradients(additive_score, inputs, d),
        gradients(written_out, inputs, d),
        rtol=1e-9,
        atol=1e-11,
    )


@pytest.mark.parametrize("pairs", [additive._TILE - 1, additive._TILE, additive._TILE + 1])
def test_sizes_around_a_real_tile(pairs: int) -> None:
    """With one number a key, ``pairs`` is the size of the inner tensor."""
    for src_len in (1, 3, pairs):
        tgt_len = -(-pairs // src_len)
        inputs = made(1, tgt_len, 1), made(1, src_len, 1), made(1)
        d = made(1, tgt_len, src_len)
        torch.testing.assert_close(
            gradients(additive_score, inputs, d), gradients(written_out, inputs, d)
        )


@pytest.mark.parametrize("above", [0, 1])
def test_the_two_roads_meet(above: int) -> None:
    src_len = additive._WRITTEN_OUT // 64 + above
    inputs = made(4, 4, 4), made(4, src_len, 4), made(4)
    assert inputs[0].numel() * src_len == additive._WRITTEN_OUT + 64 * above
    d = made(4, 4, src_len)
    torch.testing.assert_close(
        gradients(additive_score, inputs, d), gradients(written_out, inputs, d)
    )


@pytest.mark.usefixtures("tiles")
def test_inputs_need_not_be_contiguous() -> None:
    """Heads come as views: (batch, length, heads x share) cut and transposed; d may be expanded."""
    whole = made(2, 7, 3 * 5), made(2, 6, 3 * 5)
    query, keys = (x.unflatten(-1, (3, 5)).transpose(1, 2) for x in whole)
    v = made(5, 3).t()
    assert not query.is_contiguous() and not v.is_contiguous()
    d = torch.ones((), dtype=torch.float64).expand(2, 3, 7, 6)
    leaves = tuple(x.detach().requires_grad_() for x in (query, keys, v))
    ours, theirs = additive_score(*leaves), written_out(*leaves)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, leaves, d), torch.autograd.grad(theirs, leaves, d)
    )


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 5, 3), (2, 6, 3), (3,)),
        ((2, 1, 3), (2, 6, 3), (3,)),
        ((1, 2, 5, 3), (1, 2, 4, 3), (2, 3)),
    ],
)
def test_gradcheck(shapes: tuple[tuple[int, ...], ...]) -> None:
    inputs = tuple(made(*shape).requires_grad_() for shape in shapes)
    assert torch.autograd.gradcheck(additive_score, inputs)
    assert torch.autograd.gradgradcheck(additive_score, inputs)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tgt_len", [1, 9])
def test_lower_precision(dtype: torch.dtype, tgt_len: int) -> None:
    """Rounded once at the end: as close to float64 as the type allows, and the type is kept."""
    inputs = made(2, tgt_len, 32, dtype=dtype), made(2, 8, 32, dtype=dtype), made(32, dtype=dtype)
    d = made(2, tgt_len, 8, dtype=dtype)
    ours, ours_d = gradients(additive_score, inputs, d)
    theirs, theirs_d = gradients(written_out, tuple(x.double() for x in inputs), d.double())
    assert {ours.dtype, *(x.dtype for x in ours_d)} == {dtype}
    assert {ours.device, *(x.device for x in ours_d)} == {inputs[0].device}
    for result, exact in zip((ours, *ours_d), (theirs, *theirs_d), strict=True):
        # sums of up to 2 x 9 x 8 terms, rounded once
        error = (result.double() - exact).abs().max() / exact.abs().max()
        assert error < (4e-6 if dtype == torch.float32 else torch.finfo(dtype).eps)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("offset", [0.0, 39.0, 41.0, 1e4, 1e30])
def test_queries_and_keys_that_cancel(offset: float) -> None:
    """exp(-2 q) exp(-2 k) may not overflow where q + k is small."""
    query, keys, v = (made(*s, dtype=torch.float32) for s in ((2, 5, 4), (2, 6, 4), (4,)))
    query, keys = query + offset, keys - offset
    d = torch.ones(2, 5, 6)
    ours = gradients(additive_score, (query, keys, v), d)
    # what float32 keeps of the inputs is taken as exact
    theirs = gradients(written_out, tuple(x.double() for x in (query, keys, v)), d.double())
    torch.testing.assert_close(
        ours, (theirs[0].float(), tuple(x.float() for x in theirs[1])), rtol=1e-4, atol=1e-4
    )


@pytest.mark.usefixtures("tiles")
def test_nan_and_infinity_stay_visible_in_their_own_row() -> None:
    query, keys, v = made(2, 5, 4), made(2, 6, 4), made(4)
    query[0, 1, 2], keys[1, 3, 0] = math.nan, math.inf
    torch.testing.assert_close(
        additive_score(query, keys, v), written_out(query, keys, v), equal_nan=True
    )


def test_nothing_to_attend_to() -> None:
    for tgt_len, src_len, batch in ((0, 3, 2), (3, 0, 2), (3, 3, 0)):
        shape = additive_score(made(batch, tgt_len, 4), made(batch, src_len, 4), made(4)).shape
        assert shape == (batch, tgt_len, src_len)


class Largest(TorchDispatchMode):
    """The most numbers in the storage of any tensor that an operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in tensors(result):
            held = tensor.untyped_storage().nbytes() // tensor.element_size()
            self.numbers = max(self.numbers, held)
        return result


def tensors(tree: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def test_a_tile_is_not_kept_for_the_backward_pass() -> None:
    batch, src_len, size = 64, 20, 64
    inputs = tuple(
        made(*s).requires_grad_() for s in ((batch, 1, size), (batch, src_len, size), (size,))
    )
    inner = batch * src_len * size
    assert additive._WRITTEN_OUT < inner <= additive._TILE
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.shape) or x, lambda x: x):
        scores = additive_score(*inputs)
    assert scores.grad_fn is not None
    held = [value for value in vars(scores.grad_fn).values() if isinstance(value, Tensor)]
    assert not held
    assert sorted(kept) == sorted(x.shape for x in inputs)


def test_the_inner_tensor_is_never_made() -> None:
    batch, tgt_len, src_len, size = 3, 90, 110, 64
    inputs = made(batch, tgt_len, size), made(batch, src_len, size), made(size)
    d = made(batch, tgt_len, src_len)
    inner = batch * tgt_len * src_len * size
    with Largest() as naive:
        gradients(written_out, inputs, d)
    assert naive.numbers == inner
    with Largest() as ours:
        gradients(additive_score, inputs, d)
    assert ours.numbers <= additive._TILE < inner / 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="here Triton has a GPU to make kernels for")
def test_where_triton_makes_no_kernels_that_is_said_and_tiles_are_taken() -> None:
    with pytest.warns(UserWarning, match=r"Triton cannot make kernels here \(.*computed in tiles"):
        assert not additive._has_kernels.__wrapped__()
