"""A stack of recurrent layers that runs over a whole sequence or one step, on the same weights.

LSTM: Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000; GRU: Cho et al. 2014,
section 2.3, in cuDNN's variant (the reset gate acts after the recurrent product); plain RNN: Elman
1990 with tanh. The equations are those in the documentation of `torch.nn.LSTM`, `GRU` and `RNN`,
whose modules hold the weights and run whole sequences.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from jumok.config import Cell
from jumok.nn.memory import RNNState

_Stacked = Float[Tensor, "stacked batch hidden"]
"""A state as torch has it: first the layers, and within each its directions."""

_MODULES: dict[Cell, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class RNN(nn.Module):
    """``layers`` recurrent layers of kind ``cell``; dropout between layers while training."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden: int,
        layers: int,
        dropout: float,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.dropout = dropout if layers > 1 else 0.0  # torch warns where there is no between
        self.stack = _MODULES[cell](
            input_size,
            hidden,
            num_layers=layers,
            dropout=self.dropout,
            bidirectional=bidirectional,
            batch_first=True,
        )

    def forward(
        self,
        inputs: Float[Tensor, "batch length input"],
        state: RNNState | None = None,
        lengths: Int[Tensor, "batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch length output"], RNNState]:
        """Run over whole sequences.

        With ``lengths``, padding is packed away: outputs there are zeros and the final state is
        the one after each row's last real token. In the returned state the directions of one
        layer stand side by side: (batch, layers, directions x hidden).
        """
        first = None if state is None else self._to_torch(state)
        if lengths is None:
            outputs, last = self.stack(inputs, first)
        else:
            packed = pack_padded_sequence(
                inputs, lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            packed, last = self.stack(packed, first)
            outputs, _ = pad_packed_sequence(packed, batch_first=True, total_length=inputs.shape[1])
        return outputs, self._from_torch(last)

    def step(
        self, inputs: Float[Tensor, "batch input"], state: RNNState
    ) -> tuple[Float[Tensor, "batch hidden"], RNNState]:
        """One step of a one-directional stack: the top layer's output and the new state."""
        below = inputs
        hiddens, cells = [], []
        for layer in range(self.stack.num_layers):
            if layer and self.training:
                below = nn.functional.dropout(below, self.dropout)
            weights = self.stack.all_weights[layer]
            hidden = state.hidden[:, layer]
            if state.cell is not None:
                below, cell = torch.lstm_cell(below, (hidden, state.cell[:, layer]), *weights)
                cells.append(cell)
            elif self.cell == "gru":
                below = torch.gru_cell(below, hidden, *weights)
            else:
                below = torch.rnn_tanh_cell(below, hidden, *weights)
            hiddens.append(below)
        return below, RNNState(
            torch.stack(hiddens, dim=1), torch.stack(cells, dim=1) if cells else None
        )

    def _to_torch(self, state: RNNState) -> _Stacked | tuple[_Stacked, _Stacked]:
        hidden = state.hidden.transpose(0, 1).contiguous()
        if state.cell is None:
            return hidden
        return hidden, state.cell.transpose(0, 1).contiguous()

    def _from_torch(self, last: _Stacked | tuple[_Stacked, _Stacked]) -> RNNState:
        if isinstance(last, tuple):
            return RNNState(self._join(last[0]), self._join(last[1]))
        return RNNState(self._join(last), None)

    def _join(self, last: _Stacked) -> Float[Tensor, "batch layers output"]:
        directions = 2 if self.stack.bidirectional else 1
        _, batch, hidden = last.shape
        split = last.view(self.stack.num_layers, directions, batch, hidden)
        return split.permute(2, 0, 1, 3).reshape(batch, self.stack.num_layers, directions * hidden)
