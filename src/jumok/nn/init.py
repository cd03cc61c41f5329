"""First values of the weights."""

from __future__ import annotations

import torch
from torch import nn

from jumok.nn.embedding import Embedding
from jumok.nn.readout import LinearReadout
from jumok.nn.rnn import RNN

COMBINE_GAIN = 3.0
"""An LSTM's states have a standard deviation of about 0.2; this brings tanh(W_c [c;s]) near 0.6."""

NORM_GAIN = 0.2
"""Layer normalisation gives states the same deviation, which all that reads them expects."""


def initialise(model: nn.Module) -> None:
    """Draw all weights from torch's global generator (but attention's vectors v, which are drawn
    where they are made).

    Matrices: uniform of Glorot & Bengio 2010, eq. 16; recurrent matrices: orthogonal per gate
    (Saxe et al. 2014); embeddings: standard normal as they are read; biases: zero, but 1 for an
    LSTM's forget gate (Jozefowicz et al. 2015, section 2.2), given once and not in both of
    torch's bias vectors.

    Two matrices start larger, because nothing behind them learns while their output is small.
    The readout has the variance 1/fan-in (LeCun et al. 1998, section 4.6): Glorot's, which counts
    the thousands of words of the fan-out too, would make it several times smaller. The layer that
    combines context and state has a gain of `COMBINE_GAIN`.

    Layer normalisation starts with the gain `NORM_GAIN`: after the usual 1, scores of attention and
    tanh(W_c [c;s]) are so large that softmax and tanh pass hardly any gradient. Cooijmans et al.
    2017, section 4, find the same for batch normalisation in RNNs, and take 0.1.

    A table of embeddings that is also the readout has to be both: with the variance 1/size it is
    right as a readout, and multiplied by sqrt(size) where it is read it is standard normal there
    (Vaswani et al. 2017, section 3.4).
    """
    for name, module in model.named_modules():
        if isinstance(module, Embedding):
            nn.init.normal_(module.table.weight, std=1 / module.scale)
        elif isinstance(module, nn.Linear):
            if isinstance(module, LinearReadout):
                if not module.tied:
                    nn.init.kaiming_uniform_(module.weight, nonlinearity="linear")
            else:
                gain = COMBINE_GAIN if name.endswith("decoder.combine") else 1.0
                nn.init.xavier_uniform_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.constant_(module.weight, NORM_GAIN)
            nn.init.zeros_(module.bias)
        elif isinstance(module, RNN):
            _initialise_rnn(module)


def _initialise_rnn(rnn: RNN) -> None:
    for layer in rnn.layers:
        assert isinstance(layer, nn.RNNBase)
        hidden = layer.hidden_size
        for name, weight in layer.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(weight)
                if rnn.cell == "lstm" and name.startswith("bias_ih"):
                    nn.init.ones_(weight[hidden : 2 * hidden])  # gates lie as i, f, g, o
            else:
                recurrent = name.startswith("weight_hh")
                fill = nn.init.orthogonal_ if recurrent else nn.init.xavier_uniform_
                for gate in torch.chunk(weight.detach(), weight.shape[0] // hidden):
                    fill(gate)
