"""First weights have the variances that their sources give."""

from __future__ import annotations

import math

import pytest
import torch

from jumok.config import resolve
from jumok.nn import Seq2Seq, initialise

VOCAB = 3000


@pytest.fixture(scope="module", params=["linear", "maxout"])
def model(request: pytest.FixtureRequest) -> Seq2Seq:
    torch.manual_seed(3)
    config = resolve(settings={"model.decoder.readout": request.param}).model
    network = Seq2Seq(config, VOCAB, VOCAB)
    initialise(network)
    return network


def deviation(weight: torch.Tensor) -> float:
    return float(weight.detach().double().std())


def test_the_readout_has_one_over_fan_in(model: Seq2Seq) -> None:
    # LeCun et al. 1998, eq. 16; its size must not depend on the number of words
    readout = model.decoder.readout
    weight = getattr(readout, "output", readout).weight
    assert weight.shape[0] == VOCAB
    assert deviation(weight) == pytest.approx(1 / math.sqrt(weight.shape[1]), rel=0.02)


def test_other_matrices_are_glorots(model: Seq2Seq) -> None:
    # eq. 16: uniform within sqrt(6 / (fan_in + fan_out)), so variance 2 / (fan_in + fan_out)
    assert model.decoder.attention is not None
    for layer, gain in ((model.decoder.attention.key_projection, 1), (model.decoder.combine, 3)):
        weight = layer.weight
        wanted = gain * math.sqrt(2 / sum(weight.shape))
        assert deviation(weight) == pytest.approx(wanted, rel=0.02)
        assert float(weight.detach().abs().max()) <= wanted * math.sqrt(3) + 1e-6


def test_embeddings_are_standard_normal(model: Seq2Seq) -> None:
    assert deviation(model.encoder.embedding.table.weight) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("readout", ["linear", "maxout"])
def test_tied_embeddings_are_right_as_readout_and_standard_normal_as_read(readout: str) -> None:
    # Vaswani et al. 2017, section 3.4: the shared matrix is multiplied by sqrt(d) where it is read
    torch.manual_seed(3)
    size = 256 if readout == "maxout" else 512
    tied = {"model.decoder.tied": True, "model.decoder.embedding": size}
    network = Seq2Seq(
        resolve(settings={**tied, "model.decoder.readout": readout}).model, VOCAB, VOCAB
    )
    initialise(network)
    table = network.decoder.embedding.table.weight
    assert deviation(table) == pytest.approx(1 / math.sqrt(size), rel=0.01)
    read = network.decoder.embedding(torch.arange(VOCAB))
    assert deviation(read) == pytest.approx(1.0, rel=0.01)
    biases = [p for name, p in network.named_parameters() if "readout" in name]
    assert all((p == 0).all() for p in biases if p.dim() == 1)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_states_have_one_size_with_and_without_layer_normalisation(layer_norm: bool) -> None:
    torch.manual_seed(3)
    network = Seq2Seq(resolve(settings={"model.encoder.layer_norm": layer_norm}).model, VOCAB, 9)
    initialise(network)
    values = network.encoder(torch.randint(4, VOCAB, (50, 20)), torch.full((50,), 20)).values
    assert deviation(values) == pytest.approx(0.2, abs=0.05)
    assert float(values.detach().mean().abs()) < 0.01


def test_recurrent_matrices_are_orthogonal_and_only_the_forget_gate_has_a_bias(
    model: Seq2Seq,
) -> None:
    layer = model.decoder.rnn.layers[0]
    hidden = layer.hidden_size
    for gate in layer.weight_hh_l0.detach().double().chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(hidden).double(), atol=1e-5, rtol=0)
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach()
    forget = torch.zeros(4 * hidden)
    forget[hidden : 2 * hidden] = 1.0
    torch.testing.assert_close(bias, forget)
