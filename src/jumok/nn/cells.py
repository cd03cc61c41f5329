"""The step of one recurrent layer in a loop that learns: its products are `Shared`.

The equations are those of torch.nn.LSTM, GRU and RNN, with x = [known; rest] the layer's input and
h, c its state before. ``known`` is the part that is there before the loop (the tokens' vectors), so
its products with W_known are made for all steps at once::

    G_t     = W_known known_t + b
    i f g o = G_t + [W_rest U] [rest; h]          c' = s(f) c + s(i) tanh(g)    h' = s(o) tanh(c')
    r z     = s(G_t + W_rest rest + U h + b_h)    n = tanh(G_t + W_rest rest + r (U h + b_h))
                                                  h' = (1 - z) n + z h
    h'      = tanh(G_t + [W_rest U] [rest; h])

for the LSTM, the GRU (r, z and n each with its rows of the weights) and the plain RNN; s is the
sigmoid, and b, but for the GRU, the sum of both biases. Gates and the cell are in float32 at least,
also where products are in bfloat16. On a GPU, all between the products and the new state is one
kernel of torch's, that of `torch.lstm_cell` and `gru_cell`, with another for its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jumok.nn.arithmetic import at_least_float32
from jumok.nn.shared import Shared


class SharedCell:
    """One layer, for as many steps and rows as ``known`` has, or ``shape`` says where all of the
    layer's input comes step by step."""

    def __init__(
        self,
        layer: nn.RNNBase,
        known: Float[Tensor, "steps batch known"] | None,
        shape: tuple[int, int],
    ) -> None:
        self.mode = layer.mode
        weights: Sequence[Tensor] = layer.all_weights[0]
        into, recurrent, bias, recurrent_bias = weights
        whole = layer.mode != "GRU"  # one product for both
        added = bias + recurrent_bias if whole else bias
        if known is None:
            added = added.expand(*shape, -1)
        else:
            sizes = [known.shape[-1], into.shape[1] - known.shape[-1]]
            of_known, into = torch.split(into, sizes, dim=1)
            added = nn.functional.linear(known, of_known, added)
        if whole:
            self.product = Shared(torch.cat([into, recurrent], dim=1).t(), added)
        else:
            self.product = Shared(into.t(), added)
            self.recurrent = Shared(recurrent.t(), recurrent_bias.expand(*shape, -1))

    def __call__(
        self,
        rest: Float[Tensor, "batch rest"],
        hidden: Float[Tensor, "batch hidden"],
        cell: Float[Tensor, "batch hidden"] | None,
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"] | None]:
        """The layer's state after the next step."""
        if self.mode == "GRU":
            both = (at_least_float32(self.product(rest)), at_least_float32(self.recurrent(hidden)))
            if rest.is_cuda:
                with torch.autocast("cuda", enabled=False):  # which would round all of it
                    return torch.ops.aten._thnn_fused_gru_cell(*both, hidden)[0], None
            made, of_hidden = (part.chunk(3, dim=1) for part in both)
            reset = torch.sigmoid(made[0] + of_hidden[0])
            update = torch.sigmoid(made[1] + of_hidden[1])
            new = torch.tanh(made[2] + reset * of_hidden[2])
            return new + update * (hidden - new), None
        read = torch.cat([rest, hidden], dim=1)
        if self.mode == "LSTM" and rest.is_cuda:
            parts = [at_least_float32(part) for part in self.product.apart(read)]
            with torch.autocast("cuda", enabled=False):
                hidden, cell, _ = torch.ops.aten._thnn_fused_lstm_cell(*parts, cell)
            return hidden, cell
        gates = at_least_float32(self.product(read))
        if self.mode == "RNN_TANH":
            return gates.tanh(), None
        assert cell is not None
        enter, keep, new, out = gates.chunk(4, dim=1)
        cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
        return out.sigmoid() * cell.tanh(), cell
