"""The recurrent stack against torch.nn, and against itself step by step."""

from __future__ import annotations

import pytest
import torch

from jumok.config import Cell, EncoderConfig
from jumok.nn.encoder import Encoder
from jumok.nn.memory import RNNState
from jumok.nn.rnn import RNN

CELLS: list[Cell] = ["lstm", "gru", "rnn"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 3])
def test_steps_equal_the_whole_sequence(cell: Cell, layers: int) -> None:
    torch.manual_seed(0)
    rnn = RNN(cell, 4, 5, layers, dropout=0.5).double().eval()
    inputs = torch.randn(2, 6, 4, dtype=torch.float64)
    zeros = torch.zeros(2, layers, 5, dtype=torch.float64)
    state = RNNState(zeros, zeros if cell == "lstm" else None)
    outputs, last = rnn(inputs, state)
    for position in range(6):
        top, state = rnn.step(inputs[:, position], state)
        torch.testing.assert_close(top, outputs[:, position])
    torch.testing.assert_close(state.hidden, last.hidden)
    if cell == "lstm":
        torch.testing.assert_close(state.cell, last.cell)


def torch_stack(rnn: RNN) -> torch.nn.RNNBase:
    """torch's own module of several layers, with the weights of ours."""
    first = rnn.layers[0]
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[rnn.cell]
    sizes = first.input_size, first.hidden_size, len(rnn.layers)
    whole = kind(*sizes, bidirectional=first.bidirectional, batch_first=True).double()
    whole.load_state_dict(
        {
            name.replace("_l0", f"_l{number}"): weight
            for number, layer in enumerate(rnn.layers)
            for name, weight in layer.state_dict().items()
        }
    )
    return whole


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_encoder_equals_torch_on_each_sentence_alone(cell: Cell, bidirectional: bool) -> None:
    torch.manual_seed(0)
    config = EncoderConfig(cell=cell, embedding=3, hidden=4, layers=2, bidirectional=bidirectional)
    encoder = Encoder(config, vocab=9, text_vocab=9).double().eval()
    whole = torch_stack(encoder.rnn)
    lengths = [5, 1, 3]
    source = torch.randint(0, 9, (3, 5))
    read = encoder(source, torch.tensor(lengths))
    values, final = read.values, read.final
    for row, length in enumerate(lengths):
        embedded = encoder.embedding(source[row : row + 1, :length])
        outputs, last = whole(embedded)  # without padding
        hidden = last[0] if cell == "lstm" else last
        torch.testing.assert_close(values[row, :length], outputs[0])
        assert (values[row, length:] == 0).all()
        # torch gives (layers x directions, 1, hidden); ours has directions side by side
        torch.testing.assert_close(final.hidden[row], hidden[:, 0].reshape(2, -1))


def test_dropout_between_layers_also_in_steps() -> None:
    torch.manual_seed(0)
    rnn = RNN("gru", 4, 50, 2, dropout=0.9).train()
    state = RNNState(torch.zeros(1, 2, 50), None)
    tops = {tuple(rnn.step(torch.ones(1, 4), state)[0][0].tolist()) for _ in range(3)}
    assert len(tops) == 3
