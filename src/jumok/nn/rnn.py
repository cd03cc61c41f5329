"""A stack of recurrent layers that runs over a whole sequence or one step, on the same weights.

LSTM: Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000; GRU: Cho et al. 2014,
section 2.3, in cuDNN's variant (the reset gate acts after the recurrent product); plain RNN: Elman
1990 with tanh. The equations are those in the documentation of `torch.nn.LSTM`, `GRU` and `RNN`,
whose modules hold the weights of one layer each and run whole sequences.

Between them, with x^0 the input, m^l the state of layer l and x^l what it hands up::

    m^l_t = RNN^l(x^{l-1}_t, m^l_{t-1})
    x^l_t = m^l_t                                          plain
          | g (m^l_t - mean) / deviation + b               layer_norm (Ba et al. 2016, eq. 4)
    x^l_t = x^l_t + x^{l-1}_t, l > 1                       residual (Wu et al. 2016, eq. 6)

Differs: Ba et al. normalise the sums inside the cell, we its output, so that torch's fused kernels
stay. Wu et al. add from the third layer on (figure 1), we from the second, which is the first whose
input has the size of its output. Dropout falls on what a layer reads, not on what is added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jumok.config import Cell
from jumok.nn.arithmetic import at_least_float32
from jumok.nn.cells import SharedCell
from jumok.nn.dropout import dropout
from jumok.nn.masks import length_mask, zero_elsewhere
from jumok.nn.memory import RNNState
from jumok.nn.sequence import Directed, LayerState, run_layer

_MODULES: dict[Cell, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class RNN(nn.Module):
    """``layers`` recurrent layers of kind ``cell``, each with outputs of ``size``.

    The lowest ``bidirectional_layers`` read in both directions, each with half of ``size``, and the
    two states stand side by side; the layers above read forwards alone. Where the stack
    ``hands_up`` nothing, as its states alone are read, its top layer has no norm.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        size: int,
        layers: int,
        dropout: float,
        bidirectional_layers: int = 0,
        residual: bool = False,
        layer_norm: bool = False,
        hands_up: bool = True,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.fast = True
        self.dropout = dropout
        self.residual = residual
        self.layers = nn.ModuleList(
            _MODULES[cell](
                size if number else input_size,
                size // 2 if number < bidirectional_layers else size,
                bidirectional=number < bidirectional_layers,
                batch_first=True,
            )
            for number in range(layers)
        )
        norms = (layers if hands_up else layers - 1) * layer_norm
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(norms))

    @property
    def hands_up_its_state(self) -> bool:
        """Whether the output of the stack is the state of its top layer, and nothing else."""
        return not self.norms and not (self.residual and len(self.layers) > 1)

    def forward(
        self,
        inputs: Float[Tensor, "batch length input"],
        state: RNNState | None = None,
        lengths: Int[Tensor, "batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch length size"], RNNState]:
        """Run over whole sequences: the top layer's outputs x, and the last state m of every layer.

        With ``lengths`` (and no ``state``), the final state is the one after each row's last real
        token, and outputs at padding are zeros.
        """
        below = inputs
        states = []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, nn.RNNBase)
            first = None if state is None else self._to_torch(state, number)
            made, last = run_layer(layer, self._read(below, number), first, lengths, self.fast)
            states.append(self._from_torch(last))
            below = self._hand_up(made, below, number)
        if lengths is not None and self.norms:  # which make other numbers of the zeros there
            below = zero_elsewhere(below, length_mask(lengths, inputs.shape[1]))
        return below, _stack(states)

    def share(
        self, known: Float[Tensor, "steps batch known"] | None, shape: tuple[int, int]
    ) -> list[SharedCell]:
        """The layers for a loop of ``shape`` (steps, batch). ``known`` is the first part of the
        stack's inputs, if it is there before the loop."""
        layers = [layer for layer in self.layers if isinstance(layer, nn.RNNBase)]
        return [
            SharedCell(layer, None if number else known, shape)
            for number, layer in enumerate(layers)
        ]

    def step(
        self,
        inputs: Float[Tensor, "batch input"],
        state: RNNState,
        shared: Sequence[SharedCell] | None = None,
    ) -> tuple[Float[Tensor, "batch size"], RNNState]:
        """One step of a one-directional stack: the top layer's output and the new state.

        ``shared`` is that of `share`: called for one step after the other, and with ``inputs`` but
        for their known part.
        """
        below = inputs
        states = []
        hiddens = _layers(state.hidden)
        cells = None if state.cell is None else _layers(state.cell)
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, nn.RNNBase)
            read, weights = self._read(below, number), layer.all_weights[0]
            hidden, cell = hiddens[number], None if cells is None else cells[number]
            if shared is not None:
                made, cell = shared[number](read, hidden, cell)
            elif read.is_cuda and torch.is_autocast_enabled("cuda"):  # which rounds the cell there
                with torch.autocast("cuda", enabled=False):
                    made, cell = self._cell(at_least_float32(read), hidden, cell, weights)
            else:
                made, cell = self._cell(read, hidden, cell, weights)
            made = made.to(hidden.dtype)  # autocast or not
            states.append((made, cell))
            below = self._hand_up(made, below, number)
        return below, _stack(states)

    def _cell(
        self,
        read: Float[Tensor, "batch input"],
        hidden: Float[Tensor, "batch size"],
        cell: Float[Tensor, "batch size"] | None,
        weights: Sequence[Tensor],
    ) -> tuple[Float[Tensor, "batch size"], Float[Tensor, "batch size"] | None]:
        """One step of one layer, by torch."""
        if cell is not None:
            return torch.lstm_cell(read, (hidden, cell), *weights)
        run = torch.gru_cell if self.cell == "gru" else torch.rnn_tanh_cell
        return run(read, hidden, *weights), None

    def _read(
        self, below: Float[Tensor, "*rows size_below"], number: int
    ) -> Float[Tensor, "*rows size_below"]:
        """What layer ``number`` sees of the output below it: dropout is between layers alone."""
        if not number:
            return below
        return dropout(below, self.dropout, self.training)

    def _hand_up(
        self,
        made: Float[Tensor, "*rows size"],
        below: Float[Tensor, "*rows size_below"],
        number: int,
    ) -> Float[Tensor, "*rows size"]:
        """x^l from m^l and x^{l-1}."""
        if number < len(self.norms):
            made = self.norms[number](made)
        return made + below if self.residual and number else made

    def _to_torch(self, state: RNNState, number: int) -> LayerState:
        hidden = state.hidden[:, number][None].contiguous()
        if state.cell is None:
            return hidden
        return hidden, state.cell[:, number][None].contiguous()

    def _from_torch(
        self, last: LayerState
    ) -> tuple[Float[Tensor, "batch size"], Float[Tensor, "batch size"] | None]:
        if isinstance(last, tuple):
            return _join(last[0]), _join(last[1])
        return _join(last), None


def _join(directed: Directed) -> Float[Tensor, "batch size"]:
    """Both directions side by side."""
    return directed.transpose(0, 1).flatten(1)


def _layers(state: Float[Tensor, "batch layers size"]) -> Sequence[Float[Tensor, "batch size"]]:
    """The states of all layers; that of one is no copy, also in its gradient."""
    return [state.squeeze(1)] if state.shape[1] == 1 else state.unbind(dim=1)


def _stack(
    states: list[tuple[Float[Tensor, "batch size"], Float[Tensor, "batch size"] | None]],
) -> RNNState:
    """The inverse of `_layers`."""

    def joined(layers: Sequence[Tensor]) -> Tensor:
        return layers[0].unsqueeze(1) if len(layers) == 1 else torch.stack(list(layers), dim=1)

    cells = [cell for _, cell in states if cell is not None]
    return RNNState(joined([hidden for hidden, _ in states]), joined(cells) if cells else None)
