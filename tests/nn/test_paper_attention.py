"""Attention against NumPy in float64, written from the papers' formulas, one vector at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from jumok.config import AttentionConfig
from jumok.nn.attention import Attention, additive_score, attend, dot_score, scaled_dot_score
from jumok.nn.masks import length_mask, masked_normalise
from jumok.nn.memory import Memory, RNNState

BATCH, TGT, SRC, QUERY, MEMORY, INNER = 3, 4, 5, 6, 6, 7


def tensor(*shape: int) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape))
    )


def softmax(e: np.ndarray) -> np.ndarray:
    return np.exp(e - e.max()) / np.exp(e - e.max()).sum()  # Bahdanau 2015, eq. 6


def sparsemax(z: np.ndarray) -> np.ndarray:
    """Martins & Astudillo 2016, algorithm 1."""
    ordered = np.sort(z)[::-1]
    k = max(k for k in range(1, len(z) + 1) if 1 + k * ordered[k - 1] > ordered[:k].sum())
    tau = (ordered[:k].sum() - 1) / k
    return np.maximum(z - tau, 0)


def entmax15(z: np.ndarray) -> np.ndarray:
    """Peters et al. 2019, eq. 10: p_i = [(a - 1) z_i - tau]_+ ^ (1 / (a - 1)), a = 1.5; tau is
    found by bisection, so that the sum is 1 (their algorithm 1)."""
    low, high = z.max() / 2 - 1, z.max() / 2
    for _ in range(200):
        tau = (low + high) / 2
        total = (np.maximum(z / 2 - tau, 0) ** 2).sum()
        low, high = (tau, high) if total > 1 else (low, tau)
    return np.maximum(z / 2 - tau, 0) ** 2


NORMALISERS = {"softmax": softmax, "sparsemax": sparsemax, "entmax15": entmax15}


def paper_score(
    config: AttentionConfig,
    weight: dict[str, np.ndarray],
    s: np.ndarray,
    h: np.ndarray,
    u_f: np.ndarray | float,
) -> float:
    """score(s, h) of one query and one encoder state, as printed; past weights add u_f."""
    name = config.score
    if name == "dot":  # Luong 2015, 3.1: h_t^T h_s
        return float(s @ (h + u_f))
    if name == "scaled_dot":  # Vaswani 2017, eq. 1
        return float(s @ (h + u_f) / np.sqrt(len(h)))
    if name == "general":  # Luong 2015, 3.1: h_t^T W_a h_s
        return float(s @ (weight["key_projection.weight"] @ h + u_f))
    if name == "concat":  # Luong 2015, 3.1: v_a^T tanh(W_a [h_t; h_s]), W_a one matrix
        w_a = np.concatenate(
            [weight["query_projection.weight"], weight["key_projection.weight"]], axis=1
        )
        return float(weight["v"] @ np.tanh(w_a @ np.concatenate([s, h]) + u_f))
    # Bahdanau 2015, A.1.2: v_a^T tanh(W_a s + U_a h); + w_c c (See 2017, eq. 11) or + U f
    # (Chorowski 2015, eq. 9) within
    w_a, u_a = weight["query_projection.weight"], weight["key_projection.weight"]
    return float(weight["v"] @ np.tanh(w_a @ s + u_a @ h + u_f))


def past_weights(
    config: AttentionConfig, weight: dict[str, np.ndarray], past: list[np.ndarray], i: int
) -> np.ndarray | float:
    """What the weights of all steps before, over the real positions, add at position i."""
    if not (config.coverage or config.location_width):
        return 0.0
    seen = []
    if config.coverage:  # See 2017, eq. 10
        seen.append(sum(past, start=np.zeros(len(past[0]))))
    if config.location_width:  # Chorowski 2015, eq. 8: F * alpha_{i-1}
        seen.append(past[-1])
    u_f, width = weight["past_projection.weight"], config.location_width or 1
    total, column = np.zeros(len(u_f)), 0
    for alpha in seen:
        for place in range(i - width // 2, i + width // 2 + 1):
            total += u_f[:, column] * (alpha[place] if 0 <= place < len(alpha) else 0.0)
            column += 1
    return total


def paper_attention(
    config: AttentionConfig,
    weight: dict[str, np.ndarray],
    s: np.ndarray,
    real: list[np.ndarray],
    t: int,
    past: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Weights over the real positions, and the context, of target step t (from 1)."""
    length = len(real)
    if config.score == "location":  # Luong 2015, eq. 8
        e = (weight["location_projection.weight"] @ s)[:length]
        seen = list(range(min(length, config.positions)))
    else:
        added = [past_weights(config, weight, past, i) for i in range(length)]
        e = np.array(
            [paper_score(config, weight, s, *pair) for pair in zip(real, added, strict=True)]
        )
        seen = list(range(length))
    if config.scope == "local_m":  # Luong 2015, 3.2: p_t = t
        centre = float(min(t, len(seen)))
    if config.scope == "local_p":  # eq. 9
        inner = np.tanh(weight["scope.centre_projection.weight"] @ s)
        centre = len(seen) / (1 + np.exp(-(weight["scope.v"] @ inner)))
    if config.scope != "global":
        window = config.window
        seen = [i for i in seen if centre - window <= i + 1 <= centre + window]
    alpha = np.zeros(length)
    if seen:
        alpha[seen] = NORMALISERS[config.normaliser](e[seen])
    if config.scope == "local_p":  # eq. 10, sigma = D / 2; then divided by the sum
        places = np.arange(1, length + 1)
        alpha *= np.exp(-((places - centre) ** 2) / (2 * (window / 2) ** 2))
        alpha /= alpha.sum() if alpha.any() else 1.0
    context = sum(a * h for a, h in zip(alpha, real, strict=True))  # Bahdanau 2015, eq. 5
    return alpha, context


SCORES = ["dot", "scaled_dot", "general", "concat", "additive", "location"]
LENGTHS = torch.tensor([5, 1, 3])


def build(**axes: object) -> Attention:
    torch.manual_seed(0)
    module = Attention(AttentionConfig(hidden=INNER, **axes), QUERY, MEMORY).double()  # type: ignore[arg-type]
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def remember(module: Attention, states: Tensor, mask: Tensor) -> Memory:
    final = RNNState(tensor(len(states), 1, MEMORY), None)
    return Memory(module.values(states), module.keys(states), mask, final)


def arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def check_against_paper(module: Attention) -> None:
    config, weight = module.config, arrays(module)
    query, states = tensor(BATCH, TGT, QUERY), tensor(BATCH, SRC, MEMORY)
    memory = remember(module, states, length_mask(LENGTHS, SRC))
    total = np.zeros((BATCH, SRC))
    past, alphas = module.first_past(states), [[np.zeros(int(n))] for n in LENGTHS]
    for t in range(TGT):  # one step at a time, as past weights must be
        output = module(query[:, t : t + 1], memory, torch.full((BATCH, 1), t), past)
        if past is not None:
            past = module.next_past(past, output.weights[:, 0])
        for b in range(BATCH):
            real = [states[b, i].numpy() for i in range(int(LENGTHS[b]))]
            alpha, context = paper_attention(
                config, weight, query[b, t].numpy(), real, t + 1, alphas[b]
            )
            alphas[b].append(alpha)
            ours = output.weights[b, 0].detach().numpy()
            np.testing.assert_allclose(ours[: len(real)], alpha, rtol=1e-9, atol=1e-12)
            assert (ours[len(real) :] == 0).all()
            np.testing.assert_allclose(output.context[b, 0].detach(), context, rtol=1e-9)
            total[b, : len(real)] += alpha
    if past is not None:
        return
    at_once = module(query, memory, torch.arange(TGT)[None])
    np.testing.assert_allclose(at_once.weights.detach().sum(1)[:, :SRC], total, atol=1e-10)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("scope", ["global", "local_m", "local_p"])
def test_scores_weights_and_contexts_are_the_papers(
    score: str, normaliser: str, scope: str
) -> None:
    check_against_paper(
        build(score=score, normaliser=normaliser, scope=scope, window=2, positions=4)
    )


@pytest.mark.parametrize("window", [1, 3, 10])
def test_windows_of_other_sizes(window: int) -> None:
    check_against_paper(build(score="dot", scope="local_p", window=window))
    check_against_paper(build(score="dot", scope="local_m", window=window))


@pytest.mark.parametrize("score", [s for s in SCORES if s != "location"])
@pytest.mark.parametrize("scope", ["global", "local_p"])
@pytest.mark.parametrize(
    ("coverage", "width"), [(True, 0), (False, 1), (False, 3), (True, 3), (True, 21)]
)
def test_past_weights_are_the_papers(score: str, scope: str, coverage: bool, width: int) -> None:
    check_against_paper(build(score=score, scope=scope, coverage=coverage, location_width=width))


def test_past_weights_of_heads_are_their_mean_and_their_sums_stay_float32() -> None:
    module = build(score="general", heads=2, coverage=True, location_width=1)
    weights = tensor(BATCH, 2, SRC).abs()
    past = module.next_past(torch.ones(BATCH, SRC, 2, dtype=torch.float64), weights)
    mean = (weights[:, 0] + weights[:, 1]) / 2
    torch.testing.assert_close(past, torch.stack([1 + mean, mean], dim=2))
    states = tensor(BATCH, SRC, MEMORY).bfloat16()
    first = module.first_past(states)
    assert first.dtype == module.next_past(first, weights.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("score", ["dot", "scaled_dot", "general", "additive"])
def test_heads_are_attentions_side_by_side(score: str) -> None:
    """Vaswani et al. 2017, 3.2.2: head_i on its own share of the projected Q, K and V."""
    heads = 2
    module = build(score=score, heads=heads)
    if hasattr(module, "v"):  # INNER is odd
        module = Attention(AttentionConfig(score=score, heads=heads, hidden=8), QUERY, MEMORY)
        module = module.double()
        torch.nn.init.normal_(module.v)
    weight = arrays(module)
    query, states = tensor(BATCH, TGT, QUERY), tensor(BATCH, SRC, MEMORY)
    output = module(query, remember(module, states, length_mask(LENGTHS, SRC)))
    identity = np.eye(MEMORY)
    w_k = weight.get("key_projection.weight", identity)
    w_q = weight.get("query_projection.weight", np.eye(QUERY))
    w_v = weight.get("value_projection.weight", identity)
    for b in range(BATCH):
        real = states[b, : int(LENGTHS[b])].numpy()
        for t in range(TGT):
            contexts = []
            for i in range(heads):
                q, k, v = (
                    np.split(w, heads, axis=0)[i] @ x
                    for w, x in ((w_q, query[b, t].numpy()), (w_k, real.T), (w_v, real.T))
                )
                e = q @ k / (np.sqrt(len(q)) if score == "scaled_dot" else 1)
                if score == "additive":
                    e = np.split(weight["v"], heads)[i] @ np.tanh(q[:, None] + k)
                alpha = softmax(e)
                np.testing.assert_allclose(output.weights[b, i, t, : len(real)].detach(), alpha)
                contexts.append(v @ alpha)
            np.testing.assert_allclose(output.context[b, t].detach(), np.concatenate(contexts))


def test_a_location_score_sees_nothing_beyond_its_positions() -> None:
    module = build(score="location", positions=2)
    weights = module(
        tensor(1, 3, QUERY), remember(module, tensor(1, SRC, MEMORY), torch.ones(1, SRC) > 0)
    ).weights
    assert (weights[..., 2:] == 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(1, 3, dtype=torch.float64))


EVERY_AXIS = [
    {"score": "additive"},
    {"score": "general"},
    {"score": "location", "positions": 4},
    {"score": "dot", "scope": "local_m", "window": 2},
    {"score": "dot", "scope": "local_p", "window": 2},
    {"score": "dot", "normaliser": "sparsemax"},
    {"score": "dot", "normaliser": "entmax15"},
    {"score": "dot", "coverage": True},
    {"score": "additive", "coverage": True},
    {"score": "general", "location_width": 3},
    {"score": "additive", "location_width": 3, "coverage": True},
    {"score": "general", "heads": 2},
    {"score": "general", "heads": 2, "coverage": True, "location_width": 3},
    {"score": "dot", "heads": 2, "scope": "local_p", "normaliser": "entmax15"},
]
each_axis = pytest.mark.parametrize(
    "axes", EVERY_AXIS, ids=lambda axes: "-".join(map(str, axes.values()))
)


@each_axis
def test_gradients_of_every_axis(axes: dict[str, object]) -> None:
    module = build(**axes)
    parameters = [p for p in module.parameters() if p.requires_grad]
    query = tensor(2, 1, QUERY).requires_grad_()
    states = tensor(2, 4, MEMORY).requires_grad_()
    past = module.first_past(states)
    if past is not None:
        past = tensor(*past.shape).abs().requires_grad_()
    mask = length_mask(torch.tensor([4, 2]), 4)

    def context(query: Tensor, states: Tensor, *_: Tensor) -> Tensor:
        memory = remember(module, states, mask)
        return module(query, memory, torch.zeros(2, 1, dtype=torch.long), past).context

    rest = [past] if past is not None else []
    assert torch.autograd.gradcheck(context, (query, states, *rest, *parameters))


@each_axis
def test_a_source_without_tokens_and_one_of_length_1(axes: dict[str, object]) -> None:
    module = build(**axes)
    states, query = tensor(2, 3, MEMORY).requires_grad_(), tensor(2, 1, QUERY)
    mask = torch.tensor([[True, False, False], [False, False, False]])
    past = module.first_past(states)
    output = module(query, remember(module, states, mask), torch.tensor([[7], [7]]), past)
    weights = output.weights.reshape(2, -1, 3)
    assert (weights[0] == torch.tensor([1.0, 0.0, 0.0])).all()
    assert (weights[1] == 0).all()
    assert (output.context[1] == 0).all()
    torch.testing.assert_close(output.context[0, 0], module.values(states)[0, 0])
    output.context.sum().backward()
    for leaf in (states, *module.parameters()):
        assert leaf.grad is None or leaf.grad.isfinite().all()


@each_axis
def test_padding_changes_no_weight(axes: dict[str, object]) -> None:
    module = build(**axes)
    states, query = tensor(1, 3, MEMORY), tensor(1, 1, QUERY)
    padded = torch.cat([states, 100 * tensor(1, 4, MEMORY)], dim=1)
    results = []
    for values in (states, padded):
        memory = remember(module, values, length_mask(torch.tensor([3]), values.shape[1]))
        past = module.first_past(values)
        for step in range(3):
            output = module(query, memory, torch.tensor([[step]]), past)
            past = None if past is None else module.next_past(past, output.weights[..., 0, :])
        results.append(output)
    torch.testing.assert_close(results[0].context, results[1].context, rtol=0, atol=1e-12)
    torch.testing.assert_close(results[0].weights, results[1].weights[..., :3], rtol=0, atol=1e-12)
    assert (results[1].weights[..., 3:] == 0).all()


def test_scaled_dot_is_torchs_own() -> None:
    query, keys, values = tensor(2, 3, 4), tensor(2, 5, 4), tensor(2, 5, 6)
    mask = length_mask(torch.tensor([5, 2]), 5)
    ours, _ = attend(scaled_dot_score(query, keys), values, mask[:, None])
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
        lambda q, k, v: attend(score(q, k), v, mask[:, None])[0], (query, keys, values)
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
    weights = masked_normalise(
        scores, torch.tensor([[True, True, False], [False, False, False]])[:, None]
    )
    assert (weights[1] == 0).all()
    assert not weights.isnan().any()
    weights.sum().backward()
    assert scores.grad is not None
    assert (scores.grad[1] == 0).all()


def test_extreme_scores_stay_finite() -> None:
    scores = torch.tensor([[[1e30, -1e30, 0.0]]])
    for normaliser in NORMALISERS:
        weights = masked_normalise(scores, torch.tensor([[True, True, False]])[:, None], normaliser)
        assert weights.tolist() == [[[1.0, 0.0, 0.0]]]
