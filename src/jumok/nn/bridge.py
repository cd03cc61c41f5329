"""From the encoder's last state to the decoder's first."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jumok.config import ModelConfig
from jumok.nn.arithmetic import at_least_float32
from jumok.nn.memory import RNNState


class Bridge(nn.Module):
    """``zero``, ``last`` (a copy), ``last_hidden``, ``learned`` or ``mean``.

        s_0 = tanh(W h_n + b)              learned
        s_0 = tanh(W mean_i(h_i) + b)      mean (Sennrich et al. 2017, section 2)

    For the first, Bahdanau et al. 2015, A.2.2, use ``tanh(W_s h_1)`` of the backward encoder alone.
    Differs: we project the last states of all layers and both directions joined. In both, every
    decoder layer has a projection of its own, and so has an LSTM's cell.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind = config.decoder.bridge
        self.layers, self.hidden = config.decoder.layers, config.decoder.hidden
        self.has_cell = config.decoder.cell == "lstm"
        if self.kind in ("learned", "mean"):
            states = config.encoder.layers if self.kind == "learned" else 1
            size_in = states * config.encoder.memory
            size_out = self.layers * self.hidden
            self.hidden_projection = nn.Linear(size_in, size_out)
            if self.has_cell:
                self.cell_projection = nn.Linear(size_in, size_out)

    def forward(
        self, final: RNNState, mean: Float[Tensor, "batch memory"] | None = None
    ) -> RNNState:
        """The decoder's first state. Where only the decoder is an LSTM, its cell starts from the
        encoder's hidden state (``learned``) or zeros (``last``, ``last_hidden``)."""
        if self.kind == "learned":
            cell = final.hidden if final.cell is None else final.cell
            return self._project(final.hidden.flatten(1), cell.flatten(1))
        if self.kind == "mean":
            assert mean is not None, "memory was made without the mean"
            return self._project(mean, mean)
        batch = final.hidden.shape[0]
        zeros = final.hidden.new_zeros(batch, self.layers, self.hidden)
        if self.kind == "zero":
            return RNNState(zeros, zeros if self.has_cell else None)
        if not self.has_cell:
            return RNNState(final.hidden, None)
        drops_cell = final.cell is None or self.kind == "last_hidden"
        return RNNState(final.hidden, zeros if drops_cell else final.cell)

    def _project(
        self, hidden_from: Float[Tensor, "batch source"], cell_from: Float[Tensor, "batch source"]
    ) -> RNNState:
        hidden = self._shape(self.hidden_projection(hidden_from)).to(hidden_from.dtype)
        if not self.has_cell:
            return RNNState(hidden, None)
        cell = self._shape(self.cell_projection(cell_from)).to(cell_from.dtype)
        return RNNState(hidden, cell)

    def _shape(
        self, projected: Float[Tensor, "batch flat"]
    ) -> Float[Tensor, "batch layers hidden"]:
        return torch.tanh(at_least_float32(projected)).view(-1, self.layers, self.hidden)
