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
also where products are in bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jumok.nn.arithmetic import at_least_float32
from jumok.nn.derivatives import first_derivative_only
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
            made = at_least_float32(self.product(rest)).chunk(3, dim=1)
            of_hidden = at_least_float32(self.recurrent(hidden)).chunk(3, dim=1)
            reset = torch.sigmoid(made[0] + of_hidden[0])
            update = torch.sigmoid(made[1] + of_hidden[1])
            new = torch.tanh(made[2] + reset * of_hidden[2])
            return new + update * (hidden - new), None
        gates = at_least_float32(self.product(torch.cat([rest, hidden], dim=1)))
        if self.mode == "RNN_TANH":
            return gates.tanh(), None
        assert cell is not None
        hidden, cell = _LSTMGates.apply(gates, cell)  # type: ignore[no-untyped-call]
        return hidden, cell


class _LSTMGates(torch.autograd.Function):
    """h' and c' of an LSTM; first derivatives only.

    Written out, they are a dozen nodes of autograd's graph at every step, and torch's tanh runs at
    a fraction of its sigmoid's speed on a CPU: here it is ``tanh(x) = 2 s(2x) - 1``, exact to the
    rounding of 1. With i, f, g and o bent, t = tanh(c') and D = dloss/dc' + dh' o (1 - t^2), the
    gradients are::

        D g i (1 - i)    D c f (1 - f)    D i (1 - g^2)    dh' t o (1 - o)      of i, f, g, o
        D f                                                                     of c
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "batch gates"],
        cell: Float[Tensor, "batch hidden"],
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]:
        bent = gates.clone()
        enter, keep, new, out = bent.chunk(4, dim=1)
        new.mul_(2)
        bent.sigmoid_()
        new.mul_(2).sub_(1)
        after = torch.addcmul(keep * cell, enter, new)
        tanh = (2 * after).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(bent, cell, tanh)
        return out * tanh, after

    @staticmethod
    @first_derivative_only
    def backward(
        ctx: Any, d_hidden: Float[Tensor, "batch hidden"], d_after: Float[Tensor, "batch hidden"]
    ) -> tuple[Float[Tensor, "batch gates"], Float[Tensor, "batch hidden"]]:
        bent, cell, tanh = ctx.saved_tensors
        enter, keep, new, out = bent.chunk(4, dim=1)
        d = d_hidden * out
        d = d_after + torch.addcmul(d, d * tanh, tanh, value=-1)
        d_gates = torch.addcmul(bent, bent, bent, value=-1)
        d_enter, d_keep, d_new, d_out = d_gates.chunk(4, dim=1)
        torch.addcmul(d_new.new_ones(()), new, new, value=-1, out=d_new)
        d_enter.mul_(d * new)
        d_keep.mul_(d * cell)
        d_new.mul_(d * enter)
        d_out.mul_(d_hidden * tanh)
        return d_gates, d * keep
