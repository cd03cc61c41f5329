"""Tied embeddings: one table, read and scored with, wherever a model goes."""

from __future__ import annotations

import pytest
import torch

from jumok.config import TrainConfig, resolve
from jumok.nn import Seq2Seq
from jumok.training.trainer import make_average

BATCH = torch.tensor([[4, 5, 2]]), torch.tensor([3]), torch.tensor([[1, 6]])


def model(readout: str) -> Seq2Seq:
    settings = {
        "model.encoder.hidden": 4,
        "model.decoder.hidden": 16 if readout == "maxout" else 8,
        "model.decoder.embedding": 8,
        "model.decoder.readout": readout,
        "model.decoder.tied": True,
    }
    return Seq2Seq(resolve(settings=settings).model, 9, 10)


each_readout = pytest.mark.parametrize("readout", ["linear", "maxout"])


@each_readout
def test_the_table_is_stored_once_and_stays_tied_after_loading(readout: str) -> None:
    first = model(readout)
    stored = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    of_the_vocabulary = {name for name, tensor in stored.items() if tensor.shape[0] == 10}
    bias = "decoder.readout.bias" if readout == "linear" else "decoder.readout.output.bias"
    assert of_the_vocabulary == {"decoder.embedding.table.weight", bias}
    with torch.device("meta"):
        second = model(readout)
    second.load_state_dict(stored, assign=True)
    torch.testing.assert_close(first.log_probs(*BATCH), second.log_probs(*BATCH), rtol=0, atol=0)
    row = 7  # not read in this batch, so that only its score can move
    with torch.no_grad():
        second.decoder.embedding.table.weight[row] += 1.0
    before, after = (m.decoder.logits(m(*BATCH).features).detach() for m in (first, second))
    moved = (before != after).any(dim=(0, 1))
    assert moved.tolist() == [number == row for number in range(10)]


@each_readout
def test_an_average_of_a_tied_model_is_tied(readout: str) -> None:
    network = model(readout)
    average = make_average(network, TrainConfig(average_decay=0.5))
    assert average is not None
    average.update_parameters(network)
    assert set(average.module.state_dict()) == set(network.state_dict())
    torch.testing.assert_close(average.module.log_probs(*BATCH), network.log_probs(*BATCH))
