"""Features that are read apart: each of the two encoders sees its tokens alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from jumok.config import resolve
from jumok.nn import Seq2Seq

TEXT = 9
"""Ids from here on are features."""
SOURCE = torch.tensor([[9, 11, 4, 5, 6, 2], [10, 7, 2, 0, 0, 0], [8, 4, 2, 0, 0, 0]])
LENGTHS = torch.tensor([6, 3, 3])
"""Two features, one, none."""


def build(**settings: object) -> Seq2Seq:
    torch.manual_seed(2)
    tree = {
        "model.encoder.embedding": 3,
        "model.encoder.hidden": 2,
        "model.decoder.embedding": 3,
        "model.decoder.hidden": 4,
        "model.attention.hidden": 4,
        "model.encoder.features": "apart",
        **{f"model.{key}": value for key, value in settings.items()},
    }
    model = Seq2Seq(resolve(settings=tree).model, 13, 8, TEXT).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def test_each_encoder_reads_as_if_its_tokens_stood_alone() -> None:
    model = build(**{"encoder.layers": 2})
    encoder = model.encoder
    read = encoder(SOURCE, LENGTHS)
    for row, (features, text) in enumerate([([9, 11], [4, 5, 6, 2]), ([10], [7, 2])]):
        begin, end = len(features), len(features) + len(text)
        alone, final = encoder.rnn(encoder.embedding(torch.tensor([text])))
        torch.testing.assert_close(read.values[row, begin:end], alone[0])
        torch.testing.assert_close(read.final.hidden[row], final.hidden[0])
        beside, _ = encoder.feature_rnn(encoder.embedding(torch.tensor([features])))
        torch.testing.assert_close(read.feature_values[row, :begin], beside[0])
        assert (read.values[row, :begin] == 0).all()
        assert (read.feature_values[row, begin:] == 0).all()
    assert not read.feature_mask[2].any()
    assert (read.feature_values[2] == 0).all()


@pytest.mark.paper
def test_two_attentions_and_two_contexts_side_by_side() -> None:
    model = build()
    memory = model.encode(SOURCE, LENGTHS)
    step = model.decoder.step(torch.tensor([1, 1, 1]), model.decoder.init_state(memory), memory)
    w = {name: p.detach().numpy() for name, p in model.decoder.named_parameters()}
    read = model.encoder(SOURCE, LENGTHS)
    for row, count in enumerate([2, 1, 0]):
        s = step.state.rnn.hidden[row, -1].detach().numpy()
        contexts = []
        for name, values, weights, places in (
            ("attention", read.values, step.weights, range(count, int(LENGTHS[row]))),
            ("feature_attention", read.feature_values, step.feature_weights, range(count)),
        ):
            context = np.zeros(4)
            if len(places):
                h = values[row, list(places)].detach().numpy()
                e = h @ w[f"{name}.key_projection.weight"].T @ s
                alpha = np.exp(e) / np.exp(e).sum()
                np.testing.assert_allclose(weights[row, list(places)].detach(), alpha)
                context = alpha @ h
            assert weights[row].count_nonzero() == len(places)
            contexts.append(context)
        np.testing.assert_allclose(step.context[row].detach(), np.concatenate(contexts))


def first_weights(model: Seq2Seq, source: list[int]) -> Tensor:
    """Attention to the text in the first step."""
    memory = model.encode(torch.tensor([source]), torch.tensor([len(source)]))
    step = model.decoder.step(torch.tensor([1]), model.decoder.init_state(memory), memory)
    assert step.weights is not None
    return step.weights


@pytest.mark.parametrize(
    "axes",
    [
        {"attention.context": "concat", "attention.input_feeding": False},
        {"attention.context": "rnn_input", "attention.timing": "previous"},
        {
            "attention.context": "rnn_input",
            "attention.timing": "mid",
            "attention.score": "additive",
        },
        {"attention.scope": "local_p", "attention.window": 1, "decoder.readout": "maxout"},
        {"attention.score": "location", "attention.scope": "local_m", "attention.window": 1},
        {
            "attention.heads": 2,
            "attention.coverage": True,
            "attention.location_width": 3,
            "attention.copy_tokens": True,
        },
    ],
    ids=lambda axes: "-".join(str(value) for value in axes.values()),
)
def test_features_change_no_place_and_padding_nothing(axes: dict[str, object]) -> None:
    model = build(**axes)
    # no feature has been looked at before the first step, so it asks the same of either source
    featured, bare = first_weights(model, [9, 11, 4, 5, 6, 2]), first_weights(model, [4, 5, 6, 2])
    assert not featured[..., :2].any()
    torch.testing.assert_close(featured[..., 2:], bare)
    target_in = torch.tensor([[1, 4, 5]] * 3)
    copies = SOURCE.clamp_max(8) if axes.get("attention.copy_tokens") else None
    together = model.log_probs(SOURCE, LENGTHS, target_in, copies)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model.log_probs(
            SOURCE[row : row + 1, :length],
            LENGTHS[row : row + 1],
            target_in[:1],
            None if copies is None else copies[row : row + 1, :length],
        )
        size = alone.shape[-1]
        torch.testing.assert_close(together[row : row + 1, :, :size], alone)
    memory = model.encode(SOURCE, LENGTHS, copies)
    state = model.decoder.init_state(memory)
    for t in range(3):
        step = model.decoder.step(target_in[:, t], state, memory)
        state = step.state
        torch.testing.assert_close(model.decoder.log_probs(step, memory), together[:, t])


@pytest.mark.parametrize("heads", [1, 2])
def test_a_loop_that_shares_its_products_has_the_same_gradients(heads: int) -> None:
    model = build(**{"attention.score": "general", "attention.heads": heads})
    found = []
    for fast in (True, False):
        model.use_fast_roads(fast)
        value = model.log_probs(SOURCE, LENGTHS, torch.tensor([[1, 4, 5]] * 3))[..., 3].sum()
        found.append([value, *torch.autograd.grad(value, list(model.parameters()))])
    torch.testing.assert_close(*found)


def test_gradients_reach_both_encoders() -> None:
    model = build(**{"attention.coverage": True, "attention.location_width": 3})
    model.log_probs(SOURCE, LENGTHS, torch.tensor([[1, 4]] * 3))[..., 3].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
