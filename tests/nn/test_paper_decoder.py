"""Whole decoders against NumPy in float64, written from the papers step by step."""

from __future__ import annotations

import numpy as np
import torch

from jumok.config import Config, resolve
from jumok.nn import Seq2Seq

SMALL = {
    "model.encoder.embedding": 3,
    "model.decoder.embedding": 3,
    "model.decoder.hidden": 8,
    "model.attention.hidden": 5,
}


def build(
    preset: str, encoder_hidden: int, layers: int = 1, **axes: object
) -> tuple[Config, Seq2Seq]:
    torch.manual_seed(3)
    sizes = {
        **SMALL,
        "model.encoder.hidden": encoder_hidden,
        "model.encoder.layers": layers,
        "model.decoder.layers": layers,
        **{f"model.attention.{key}": value for key, value in axes.items()},
    }
    config = resolve([preset], sizes)
    model = Seq2Seq(config.model, 9, 10).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return config, model


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def lstm(
    w: dict[str, np.ndarray], prefix: str, x: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    z = w[f"{prefix}.weight_ih_l0"] @ x + w[f"{prefix}.bias_ih_l0"]
    z = z + w[f"{prefix}.weight_hh_l0"] @ h + w[f"{prefix}.bias_hh_l0"]
    i, f, g, o = np.split(z, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(w: dict[str, np.ndarray], prefix: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    a = w[f"{prefix}.weight_ih_l0"] @ x + w[f"{prefix}.bias_ih_l0"]
    b = w[f"{prefix}.weight_hh_l0"] @ h + w[f"{prefix}.bias_hh_l0"]
    (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
    r, z = sigmoid(ar + br), sigmoid(az + bz)
    return (1 - z) * np.tanh(an + r * bn) + z * h


def case(
    model: Seq2Seq,
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray, list[int]]:
    """Log-probs of the model on a padded batch; weights; encoder states; last state; targets."""
    source, lengths = torch.tensor([[4, 5, 6, 2], [7, 2, 0, 0]]), torch.tensor([4, 2])
    targets = [1, 4, 7, 5]
    ours = model.log_probs(source, lengths, torch.tensor([targets, targets]))[1].detach().numpy()
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    memory = model.encode(source[1:, :2], lengths[1:])
    return ours, weights, memory.values[0].detach().numpy(), memory, targets


def test_luong2015_general_attentional_input_feeding() -> None:
    _, model = build("luong2015", encoder_hidden=8)
    ours, w, h, memory, targets = case(model)
    s = memory.final.hidden[0, 0].detach().numpy()
    c = memory.final.cell[0, 0].detach().numpy()
    fed = np.zeros(8)
    for t, y in enumerate(targets):
        x = np.concatenate([w["decoder.embedding.table.weight"][y], fed])
        s, c = lstm(w, "decoder.rnn.layers.0", x, s, c)
        scores = np.array([s @ w["decoder.attention.key_projection.weight"] @ hs for hs in h])
        context = softmax(scores) @ h
        fed = np.tanh(
            w["decoder.combine.weight"] @ np.concatenate([context, s]) + w["decoder.combine.bias"]
        )  # eq. 5
        logits = w["decoder.readout.weight"] @ fed + w["decoder.readout.bias"]  # eq. 6
        np.testing.assert_allclose(ours[t], np.log(softmax(logits)), rtol=1e-9)


def test_bahdanau2015_additive_previous_maxout() -> None:
    _, model = build("bahdanau2015", encoder_hidden=4)
    ours, w, h, memory, targets = case(model)
    flat = memory.final.hidden[0, 0].detach().numpy()
    s = np.tanh(
        w["decoder.bridge.hidden_projection.weight"] @ flat
        + w["decoder.bridge.hidden_projection.bias"]
    )  # A.2.2
    for t, y in enumerate(targets):
        e = np.array(
            [
                w["decoder.attention.v"]
                @ np.tanh(
                    w["decoder.attention.query_projection.weight"] @ s
                    + w["decoder.attention.key_projection.weight"] @ hj
                )
                for hj in h
            ]
        )  # A.1.2, asked with s_{i-1}
        context = softmax(e) @ h
        embedded = w["decoder.embedding.table.weight"][y]
        s = gru(w, "decoder.rnn.layers.0", np.concatenate([embedded, context]), s)
        deep = (
            w["decoder.readout.deep.weight"] @ np.concatenate([s, embedded, context])
            + w["decoder.readout.deep.bias"]
        )
        maxout = np.array([max(deep[2 * j], deep[2 * j + 1]) for j in range(len(deep) // 2)])
        logits = w["decoder.readout.output.weight"] @ maxout + w["decoder.readout.output.bias"]
        np.testing.assert_allclose(ours[t], np.log(softmax(logits)), rtol=1e-9)


def test_nematus2017_conditional_gru_attends_between_two_transitions() -> None:
    """Sennrich et al. 2017, section 2: s'_j = GRU_1(y_{j-1}, s_{j-1}), c_j = ATT(C, s'_j),
    s_j = GRU_2(s'_j, c_j)."""
    _, model = build("bahdanau2015", encoder_hidden=4, timing="mid")
    ours, w, h, memory, targets = case(model)
    s = model.decoder.init_state(memory).rnn.hidden[0, 0].detach().numpy()
    for t, y in enumerate(targets):
        embedded = w["decoder.embedding.table.weight"][y]
        between = gru(w, "decoder.rnn.layers.0", embedded, s)
        query = w["decoder.attention.query_projection.weight"] @ between
        keys = h @ w["decoder.attention.key_projection.weight"].T
        context = softmax(np.tanh(query + keys) @ w["decoder.attention.v"]) @ h
        s = gru(w, "decoder.second_rnn.layers.0", context, between)
        deep = (
            w["decoder.readout.deep.weight"] @ np.concatenate([s, embedded, context])
            + w["decoder.readout.deep.bias"]
        )
        maxout = deep.reshape(-1, 2).max(axis=1)
        logits = w["decoder.readout.output.weight"] @ maxout + w["decoder.readout.output.bias"]
        np.testing.assert_allclose(ours[t], np.log(softmax(logits)), rtol=1e-9)


def test_cho2014_sees_the_thought_vector_at_every_step() -> None:
    _, model = build("cho2014", encoder_hidden=8)
    ours, w, _, memory, targets = case(model)
    thought = memory.final.hidden[0, 0].detach().numpy()
    s = np.tanh(
        w["decoder.bridge.hidden_projection.weight"] @ thought
        + w["decoder.bridge.hidden_projection.bias"]
    )
    for t, y in enumerate(targets):
        embedded = w["decoder.embedding.table.weight"][y]
        s = gru(w, "decoder.rnn.layers.0", np.concatenate([embedded, thought]), s)
        deep = (
            w["decoder.readout.deep.weight"] @ np.concatenate([s, thought, embedded])
            + w["decoder.readout.deep.bias"]
        )
        maxout = deep.reshape(-1, 2).max(axis=1)
        logits = w["decoder.readout.output.weight"] @ maxout + w["decoder.readout.output.bias"]
        np.testing.assert_allclose(ours[t], np.log(softmax(logits)), rtol=1e-9)


def test_lecture_dot_current_concat() -> None:
    _, model = build("lecture", encoder_hidden=8)
    ours, w, h, memory, targets = case(model)
    s = memory.final.hidden[0, 0].detach().numpy()
    c = np.zeros(8)  # the notes hand on h alone
    for t, y in enumerate(targets):
        s, c = lstm(w, "decoder.rnn.layers.0", w["decoder.embedding.table.weight"][y], s, c)
        context = softmax(h @ s) @ h
        logits = (
            w["decoder.readout.weight"] @ np.concatenate([context, s]) + w["decoder.readout.bias"]
        )
        np.testing.assert_allclose(ours[t], np.log(softmax(logits)), rtol=1e-9)


def test_sutskever2014_has_nothing_but_the_last_state() -> None:
    _, model = build("sutskever2014", encoder_hidden=8)
    ours, w, _, memory, targets = case(model)
    s = memory.final.hidden[0, 0].detach().numpy()
    c = memory.final.cell[0, 0].detach().numpy()
    for t, y in enumerate(targets):
        s, c = lstm(w, "decoder.rnn.layers.0", w["decoder.embedding.table.weight"][y], s, c)
        logits = w["decoder.readout.weight"] @ s + w["decoder.readout.bias"]
        np.testing.assert_allclose(ours[t], np.log(softmax(logits)), rtol=1e-9)
