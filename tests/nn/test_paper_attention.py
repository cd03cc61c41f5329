"""Attention against NumPy in float64, written from the papers' formulas, one vector at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from jumok.config import AttentionConfig
from jumok.nn.attention import Attention, additive_score, attend, dot_score, scaled_dot_score
from jumok.nn.masks import length_mask, masked_softmax
from jumok.nn.memory import Memory, RNNState

BATCH, TGT, SRC, QUERY, MEMORY, INNER = 3, 4, 5, 6, 6, 7


def tensor(*shape: int) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape))
    )


def paper_score(name: str, module: Attention, s: np.ndarray, h: np.ndarray) -> float:
    """score(s, h) of one query and one encoder state, as printed."""
    weight = {n: p.detach().numpy() for n, p in module.named_parameters()}
    if name == "dot":  # Luong 2015, 3.1: h_t^T h_s
        return float(s @ h)
    if name == "scaled_dot":  # Vaswani 2017, eq. 1
        return float(s @ h / np.sqrt(len(h)))
    if name == "general":  # Luong 2015, 3.1: h_t^T W_a h_s
        return float(s @ weight["key_projection.weight"] @ h)
    if name == "concat":  # Luong 2015, 3.1: v_a^T tanh(W_a [h_t; h_s]), W_a one matrix
        w_a = np.concatenate(
            [weight["query_projection.weight"], weight["key_projection.weight"]], axis=1
        )
        return float(weight["v"] @ np.tanh(w_a @ np.concatenate([s, h])))
    # Bahdanau 2015, A.1.2: v_a^T tanh(W_a s + U_a h)
    w_a, u_a = weight["query_projection.weight"], weight["key_projection.weight"]
    return float(weight["v"] @ np.tanh(w_a @ s + u_a @ h))


@pytest.mark.parametrize("name", ["dot", "scaled_dot", "general", "concat", "additive"])
def test_scores_weights_and_contexts_are_the_papers(name: str) -> None:
    torch.manual_seed(0)
    module = Attention(AttentionConfig(score=name, hidden=INNER), QUERY, MEMORY).double()
    if hasattr(module, "v"):
        torch.nn.init.normal_(module.v)
    query, values = tensor(BATCH, TGT, QUERY), tensor(BATCH, SRC, MEMORY)
    lengths = torch.tensor([5, 1, 3])
    final = RNNState(tensor(BATCH, 1, MEMORY), None)
    memory = Memory(values, module.keys(values), length_mask(lengths, SRC), final)
    output = module(query, memory)
    for b in range(BATCH):
        for t in range(TGT):
            s = query[b, t].numpy()
            real = [values[b, i].numpy() for i in range(int(lengths[b]))]
            e = np.array([paper_score(name, module, s, h) for h in real])
            alpha = np.exp(e) / np.exp(e).sum()  # Bahdanau 2015, eq. 6
            context = sum(a * h for a, h in zip(alpha, real, strict=True))  # eq. 5
            np.testing.assert_allclose(
                output.weights[b, t, : len(real)].detach(), alpha, rtol=1e-10
            )
            assert (output.weights[b, t, len(real) :] == 0).all()
            np.testing.assert_allclose(output.context[b, t].detach(), context, rtol=1e-10)


def test_scaled_dot_is_torchs_own() -> None:
    query, keys, values = tensor(2, 3, 4), tensor(2, 5, 4), tensor(2, 5, 6)
    mask = length_mask(torch.tensor([5, 2]), 5)
    ours = attend(scaled_dot_score(query, keys), values, mask).context
    theirs = torch.nn.functional.scaled_dot_product_attention(
        query, keys, values, attn_mask=mask[:, None, :]
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("score", [dot_score, scaled_dot_score])
def test_gradients_of_products(score: object) -> None:
    query, keys, values = (
        tensor(2, 3, 4).requires_grad_(),
        tensor(2, 2, 4).requires_grad_(),
        tensor(2, 2, 3).requires_grad_(),
    )
    mask = length_mask(torch.tensor([2, 1]), 2)
    assert torch.autograd.gradcheck(
        lambda q, k, v: attend(score(q, k), v, mask).context, (query, keys, values)
    )


def test_gradients_of_additive() -> None:
    query, keys, v = (
        tensor(2, 3, 4).requires_grad_(),
        tensor(2, 2, 4).requires_grad_(),
        tensor(4).requires_grad_(),
    )
    assert torch.autograd.gradcheck(additive_score, (query, keys, v))


def test_fully_masked_row_is_zeros_and_has_zero_gradient() -> None:
    scores = tensor(2, 1, 3).requires_grad_()
    weights = masked_softmax(scores, torch.tensor([[True, True, False], [False, False, False]]))
    assert (weights[1] == 0).all()
    assert not weights.isnan().any()
    weights.sum().backward()
    assert scores.grad is not None
    assert (scores.grad[1] == 0).all()


def test_extreme_scores_stay_finite() -> None:
    scores = torch.tensor([[[1e30, -1e30, 0.0]]])
    weights = masked_softmax(scores, torch.tensor([[True, True, False]]))
    assert weights.tolist() == [[[1.0, 0.0, 0.0]]]
