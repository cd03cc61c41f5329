"""Deep models against NumPy in float64, from the tokens of the source to the log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_paper_decoder import gru, lstm, softmax

from jumok.config import Cell, EncoderConfig, ModelConfig, resolve
from jumok.nn import Seq2Seq
from jumok.nn.encoder import Encoder
from jumok.training.loss import sequence_loss

Weights = dict[str, np.ndarray]
SOURCE, LENGTHS = [[4, 5, 6, 3, 2], [7, 0, 0, 0, 0], [8, 3, 2, 0, 0]], [5, 1, 3]
TARGET = [1, 4, 7, 5]


def random_weights(module: torch.nn.Module) -> Weights:
    torch.manual_seed(3)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def one_step(
    kind: str, w: Weights, prefix: str, x: np.ndarray, m: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if kind == "lstm":
        return lstm(w, prefix, x, m, c)
    if kind == "gru":
        return gru(w, prefix, x, m), c
    inner = w[f"{prefix}.weight_ih_l0"] @ x + w[f"{prefix}.bias_ih_l0"]
    inner = inner + w[f"{prefix}.weight_hh_l0"] @ m + w[f"{prefix}.bias_hh_l0"]
    return np.tanh(inner), c


def read(
    kind: str, w: Weights, prefix: str, xs: list[np.ndarray], size: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """One layer in one direction: every state, and the last of both halves."""
    m, c, every = np.zeros(size), np.zeros(size), []
    for x in xs:
        m, c = one_step(kind, w, prefix, x, m, c)
        every.append(m)
    return every, m, c


def layer_norm(w: Weights, prefix: str, a: np.ndarray) -> np.ndarray:
    """Ba et al. 2016, eq. 4, without f: mu and sigma over the H values of one layer at one step."""
    mu = a.sum() / len(a)
    sigma = np.sqrt(((a - mu) ** 2).sum() / len(a) + 1e-5)
    return w[f"{prefix}.weight"] / sigma * (a - mu) + w[f"{prefix}.bias"]


def paper_encoder(
    config: EncoderConfig, w: Weights, tokens: list[int], prefix: str = ""
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Wu et al. 2016, eq. 6 and figure 3: outputs of the top layer, and last m and c of each."""
    size = 2 * config.hidden if config.bidirectional else config.hidden
    both = (config.bidirectional_layers or config.layers) if config.bidirectional else 0
    x = [w[f"{prefix}embedding.table.weight"][token] for token in tokens]
    last_m, last_c = [], []
    for i in range(config.layers):
        layer = f"{prefix}rnn.layers.{i}"
        if i < both:
            m, m_end, c_end = read(config.cell, w, layer, x, size // 2)
            leftwards = {k.removesuffix("_reverse"): v for k, v in w.items() if "_reverse" in k}
            m_left, m_start, c_start = read(config.cell, leftwards, layer, x[::-1], size // 2)
            m = [np.concatenate(pair) for pair in zip(m, m_left[::-1], strict=True)]
            m_end, c_end = np.concatenate([m_end, m_start]), np.concatenate([c_end, c_start])
        else:
            m, m_end, c_end = read(config.cell, w, layer, x, size)
        last_m.append(m_end)
        last_c.append(c_end)
        if config.layer_norm:
            m = [layer_norm(w, f"{prefix}rnn.norms.{i}", state) for state in m]
        if config.residual and i > 0:
            m = [
                state + below for state, below in zip(m, x, strict=True)
            ]  # x_t^i = m_t^i + x^{i-1}
        x = m
    return x, last_m, last_c


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("both", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("residual", "norm"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_encoder(cell: Cell, both: int, residual: bool, norm: bool) -> None:
    config = EncoderConfig(
        cell=cell,
        embedding=3,
        hidden=4,
        layers=3,
        bidirectional=both > 0,
        bidirectional_layers=both or None,
        residual=residual,
        layer_norm=norm,
    )
    encoder = Encoder(config, vocab=9, text_vocab=9).double().eval()
    w = random_weights(encoder)
    read = encoder(torch.tensor(SOURCE), torch.tensor(LENGTHS))
    values, final = read.values, read.final
    for row, length in enumerate(LENGTHS):
        outputs, last_m, last_c = paper_encoder(config, w, SOURCE[row][:length])
        np.testing.assert_allclose(values[row, :length].detach(), outputs, rtol=1e-9)
        assert (values[row, length:] == 0).all()
        np.testing.assert_allclose(final.hidden[row].detach(), last_m, rtol=1e-9)
        if cell == "lstm":
            np.testing.assert_allclose(final.cell[row].detach(), last_c, rtol=1e-9)


def test_padding_has_no_gradient() -> None:
    config = EncoderConfig(embedding=3, hidden=4, layers=2, residual=True, layer_norm=True)
    encoder = Encoder(config, vocab=9, text_vocab=9).double()
    random_weights(encoder)
    inputs = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    values, _ = encoder.rnn(inputs, lengths=torch.tensor([4, 1]))
    values.pow(2).sum().backward()
    assert (inputs.grad[1, 1:] == 0).all()
    assert (inputs.grad[1, 0] != 0).all()


def build(
    text_vocab: int | None = None, **settings: object
) -> tuple[ModelConfig, Seq2Seq, Weights]:
    """A deep model: a bottom that reads both ways, residual, normalised, tied, mean bridge."""
    sizes = {
        "model.encoder.embedding": 3,
        "model.encoder.hidden": 4,
        "model.encoder.layers": 3,
        "model.encoder.bidirectional_layers": 1,
        "model.encoder.residual": True,
        "model.encoder.layer_norm": True,
        "model.decoder.embedding": 6,
        "model.decoder.hidden": 6,
        "model.decoder.layers": 3,
        "model.decoder.residual": True,
        "model.decoder.layer_norm": True,
        "model.decoder.tied": True,
        "model.decoder.bridge": "mean",
    }
    config = resolve(settings={**sizes, **{f"model.{k}": v for k, v in settings.items()}}).model
    model = Seq2Seq(config, 9, 10, text_vocab).double().eval()
    return config, model, random_weights(model)


def log_probs(model: Seq2Seq) -> list[np.ndarray]:
    """Ours, of the whole padded batch."""
    source, lengths = torch.tensor(SOURCE), torch.tensor(LENGTHS)
    return list(model.log_probs(source, lengths, torch.tensor([TARGET] * 3)).detach().numpy())


def first_state(config: ModelConfig, w: Weights, h: list[np.ndarray], part: str) -> np.ndarray:
    """Sennrich et al. 2017, section 2: s_0 = tanh(W_init mean(h)), for each layer."""
    mean = sum(h) / len(h)
    projected = w[f"decoder.bridge.{part}_projection.weight"] @ mean
    flat = np.tanh(projected + w[f"decoder.bridge.{part}_projection.bias"])
    return flat.reshape(config.decoder.layers, config.decoder.hidden).copy()


def climb(
    kind: str,
    w: Weights,
    x: np.ndarray,
    m: np.ndarray,
    c: np.ndarray,
    residual: bool = True,
    norm: bool = True,
) -> np.ndarray:
    """One step of the decoder's stack: the output x of the top layer; m and c move on."""
    for i in range(len(m)):
        m[i], c[i] = one_step(kind, w, f"decoder.rnn.layers.{i}", x, m[i], c[i])
        made = layer_norm(w, f"decoder.rnn.norms.{i}", m[i]) if norm else m[i]
        x = made + x if residual and i else made
    return x


def embed(w: Weights, y: int) -> np.ndarray:
    """Vaswani et al. 2017, section 3.4: the shared matrix, multiplied by sqrt(d)."""
    table = w["decoder.embedding.table.weight"]
    return np.sqrt(table.shape[1]) * table[y]


def scores(w: Weights, features: np.ndarray, bias: str = "decoder.readout.bias") -> np.ndarray:
    """Press & Wolf 2017: h = V h_2 with V = U, the input embedding."""
    assert not any(name.endswith("readout.weight") for name in w)
    return np.log(softmax(w["decoder.embedding.table.weight"] @ features + w[bias]))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("feeding", [True, False])
def test_deep_luong(heads: int, feeding: bool) -> None:
    """With heads, what attention reads is projected; what starts the decoder is not."""
    config, model, w = build(
        **{
            "attention.heads": heads,
            "attention.input_feeding": feeding,
            "attention.score": "general",
        }
    )
    for row, ours in enumerate(log_probs(model)):
        h, _, _ = paper_encoder(config.encoder, w, SOURCE[row][: LENGTHS[row]], "encoder.")
        m, c = (first_state(config, w, h, part) for part in ("hidden", "cell"))
        fed = np.zeros(6)
        keys = [w["decoder.attention.key_projection.weight"] @ state for state in h]
        values = h
        if heads > 1:
            values = [w["decoder.attention.value_projection.weight"] @ state for state in h]
        for t, y in enumerate(TARGET):
            s = climb(
                "lstm", w, np.concatenate([embed(w, y), fed] if feeding else [embed(w, y)]), m, c
            )
            contexts = []
            for q, k, v in zip(
                np.split(s, heads),
                np.split(np.array(keys), heads, axis=1),
                np.split(np.array(values), heads, axis=1),
                strict=True,
            ):
                contexts.append(softmax(k @ q) @ v)
            joined = np.concatenate([*contexts, s])
            fed = np.tanh(w["decoder.combine.weight"] @ joined + w["decoder.combine.bias"])
            np.testing.assert_allclose(ours[t], scores(w, fed), rtol=1e-9)


def test_timing_previous_asks_with_the_state_not_the_output() -> None:
    config, model, w = build(
        **{"attention.timing": "previous", "attention.input_feeding": False, "decoder.cell": "gru"}
    )
    for row, ours in enumerate(log_probs(model)):
        h, _, _ = paper_encoder(config.encoder, w, SOURCE[row][: LENGTHS[row]], "encoder.")
        m = first_state(config, w, h, "hidden")
        keys = np.array(h) @ w["decoder.attention.key_projection.weight"].T
        for t, y in enumerate(TARGET):
            context = softmax(keys @ m[-1]) @ h
            s = climb("gru", w, embed(w, y), m, np.zeros_like(m))
            joined = np.concatenate([context, s])
            a = np.tanh(w["decoder.combine.weight"] @ joined + w["decoder.combine.bias"])
            np.testing.assert_allclose(ours[t], scores(w, a), rtol=1e-9)


def test_timing_mid_is_one_more_layer_of_the_residual_stack() -> None:
    axes = {"timing": "mid", "context": "rnn_input", "input_feeding": False}
    config, model, w = build(
        **{f"attention.{k}": v for k, v in axes.items()},
        **{"decoder.cell": "gru", "decoder.readout": "maxout", "decoder.embedding": 3},
    )
    for row, ours in enumerate(log_probs(model)):
        h, _, _ = paper_encoder(config.encoder, w, SOURCE[row][: LENGTHS[row]], "encoder.")
        m = first_state(config, w, h, "hidden")
        keys = np.array(h) @ w["decoder.attention.key_projection.weight"].T
        for t, y in enumerate(TARGET):
            between = climb("gru", w, embed(w, y), m, np.zeros_like(m))
            context = softmax(keys @ between) @ h
            m[-1] = gru(w, "decoder.second_rnn.layers.0", context, m[-1])
            s = layer_norm(w, "decoder.second_rnn.norms.0", m[-1]) + between
            deep = (
                w["decoder.readout.deep.weight"] @ np.concatenate([s, embed(w, y), context])
                + w["decoder.readout.deep.bias"]
            )
            maxout = deep.reshape(-1, 2).max(axis=1)
            expected = scores(w, maxout, "decoder.readout.output.bias")
            np.testing.assert_allclose(ours[t], expected, rtol=1e-9)


@pytest.mark.parametrize("timing", ["current", "mid"])
@pytest.mark.parametrize(
    ("residual", "norm"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_the_switch_of_copying_reads_the_output_of_the_stack(
    timing: str, residual: bool, norm: bool
) -> None:
    """See et al. 2017, eq. 8-9, where s_t is what all else beyond the decoder's stack reads too."""
    context = "concat" if timing == "current" else "rnn_input"
    config, model, w = build(
        **{f"attention.{k}": v for k, v in (("timing", timing), ("context", context))},
        **{"attention.input_feeding": False, "attention.copy_tokens": True},
        **{"decoder.cell": "gru", "decoder.tied": False},
        **{"decoder.residual": residual, "decoder.layer_norm": norm},
    )
    copies = [[4, 11, 6, 4, 2], [10, 0, 0, 0, 0], [11, 3, 2, 0, 0]]
    source, lengths, size = torch.tensor(SOURCE), torch.tensor(LENGTHS), 12
    target_in = torch.tensor([TARGET] * 3)
    log_p = model.log_probs(source, lengths, target_in, torch.tensor(copies)).detach().numpy()
    for row, length in enumerate(LENGTHS):
        h, _, _ = paper_encoder(config.encoder, w, SOURCE[row][:length], "encoder.")
        m = first_state(config, w, h, "hidden")
        keys = np.array(h) @ w["decoder.attention.key_projection.weight"].T
        for t, y in enumerate(TARGET):
            x = w["decoder.embedding.table.weight"][y]
            s = climb("gru", w, x, m, np.zeros_like(m), residual, norm)
            a = softmax(keys @ s)
            c = a @ h
            if timing == "mid":
                m[-1] = gru(w, "decoder.second_rnn.layers.0", c, m[-1])
                top = layer_norm(w, "decoder.second_rnn.norms.0", m[-1]) if norm else m[-1]
                s = top + s if residual else top
            assert np.allclose(s, m[-1]) == (not residual and not norm)
            w_h, w_s, w_x = np.split(w["decoder.switch.weight"][0], [len(c), len(c) + len(s)])
            p_gen = 1 / (1 + np.exp(-(w_h @ c + w_s @ s + w_x @ x + w["decoder.switch.bias"][0])))
            read = np.concatenate([c, s]) if timing == "current" else s
            readout = w["decoder.readout.weight"] @ read + w["decoder.readout.bias"]
            p = np.append(p_gen * softmax(readout), [0, 0])
            for i in range(length):
                p[copies[row][i]] += (1 - p_gen) * a[i]
            assert len(p) == size
            np.testing.assert_allclose(np.exp(log_p[row, t]), p, rtol=1e-9)


class Whole(torch.nn.Module):
    """A model as one function of its parameters: what each token of the target costs (its
    probability with copying, that of every token without) and the attention weights."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        source: torch.Tensor,
        lengths: torch.Tensor,
        target_in: torch.Tensor,
        target_out: torch.Tensor,
        copies: torch.Tensor | None,
    ) -> tuple[torch.Tensor, ...]:
        memory = self.model.encode(source, lengths, copies)
        output = self.model.decoder(target_in, memory)
        if copies is None:
            made = self.model.decoder.log_probs(output, memory)
        else:
            alone = torch.eye(target_out.numel(), dtype=torch.bool).view(-1, *target_out.shape)
            losses = [
                sequence_loss(self.model, output, target_out, one, 0.1, copies) for one in alone
            ]
            made = torch.stack(losses)
        seen = (output.weights, output.feature_weights)
        return made, *(weights for weights in seen if weights is not None)


PLAIN = {
    "encoder.embedding": 2, "encoder.hidden": 1, "encoder.layers": 1, "encoder.residual": False,
    "encoder.layer_norm": False, "encoder.bidirectional_layers": None, "decoder.embedding": 2,
    "decoder.hidden": 2, "decoder.layers": 1, "decoder.residual": False,
    "decoder.layer_norm": False, "decoder.tied": False, "attention.hidden": 2,
}  # fmt: skip
DEEP = {
    "encoder.layers": 2, "encoder.bidirectional_layers": 1, "encoder.residual": True,
    "encoder.layer_norm": True, "decoder.layers": 2, "decoder.residual": True,
    "decoder.layer_norm": True,
}  # fmt: skip
MID = {"attention.timing": "mid", "attention.context": "rnn_input"}
COPY = {"attention.copy_tokens": True}
HEADS = {"attention.heads": 2}
COVERAGE = {"attention.coverage": True}


MODELS: dict[str, dict[str, object]] = {
    "deep": {**DEEP, "decoder.tied": True},
    "deep-learned": {**DEEP, "decoder.bridge": "learned"},
    "mid": MID,
    "mid-maxout": {**MID, "decoder.readout": "maxout", "attention.input_feeding": False},
    "mid-deep-copy": {**MID, **DEEP, **COPY, **COVERAGE, "attention.score": "additive"},
    "previous": {"attention.timing": "previous", "attention.context": "rnn_input"},
    "copy": COPY,
    "copy-deep": {**COPY, **DEEP, "attention.input_feeding": False},
    "copy-heads": {**COPY, **HEADS, **COVERAGE},
    "apart": {"encoder.features": "apart"},
    "apart-copy": {"encoder.features": "apart", **COPY, **HEADS, "attention.score": "concat"},
    "maxout": {"decoder.readout": "maxout"},
    "zero": {"decoder.bridge": "zero"},
    "last": {"decoder.bridge": "last"},
    "last-hidden": {"decoder.bridge": "last_hidden"},
    "learned": {"decoder.bridge": "learned"},
    "local-p": {"attention.scope": "local_p", "attention.window": 2},
    "heads": {**HEADS, "attention.score": "additive"},
    "coverage": {**COVERAGE, "attention.score": "additive"},
    "coverage-location-aware": {**COVERAGE, "attention.location_width": 3},
    "location": {"attention.score": "location", "attention.positions": 4},
}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_a_whole_model_by_small_differences(name: str, cell: str) -> None:
    """Two rows, the second source of length 1. Where there are features, it has none."""
    settings = MODELS[name]
    tree = {"encoder.cell": cell, "decoder.cell": cell, **PLAIN, **settings}
    apart = settings.get("encoder.features") == "apart"
    _, model, _ = build(text_vocab=7 if apart else None, **tree)
    copies = torch.tensor([[4, 10, 2], [5, 0, 0]]) if "attention.copy_tokens" in settings else None
    source = torch.tensor([[8 if apart else 4, 5, 2], [6, 0, 0]])
    # copied alone, neither (unknown), both ways, generated alone
    target_in, target_out = torch.tensor([[1, 4], [1, 5]]), torch.tensor([[10, 11], [5, 7]])
    batch = source, torch.tensor([3, 1]), target_in, target_out, copies
    whole = Whole(model)
    names, parameters = zip(*whole.named_parameters(), strict=True)

    def made(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.func.functional_call(whole, dict(zip(names, values, strict=True)), batch)

    assert torch.autograd.gradcheck(made, parameters, atol=1e-8, rtol=1e-5, fast_mode=True)
