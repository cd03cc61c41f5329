"""One recurrent layer as one node of an ONNX graph, for models that leave torch.

ONNX's LSTM, GRU and RNN are torch's (GRU with ``linear_before_reset``) but for the order of the
gates in their weights, and they are told the length of every row: a row's state stands still at its
last real token, its outputs at padding are zeros, and what reads backwards begins at its end.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_OPERATOR = {"LSTM": "LSTM", "GRU": "GRU", "RNN_TANH": "RNN"}
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN_TANH": (0,)}
"""ONNX's gates by their place in torch: i o f c of i f g o, z r h of r z n."""
_OPSET = 18


def run_node(
    layer: nn.RNNBase,
    inputs: Float[Tensor, "batch length input"],
    lengths: Int[Tensor, "batch"],
) -> tuple[Float[Tensor, "batch length size"], tuple[Tensor, ...]]:
    """Outputs, and the state (of an LSTM also the cell) after each row's last real token."""
    one_way = [_reordered(layer, weights) for weights in layer.all_weights]
    kinds = [torch.stack(kind) for kind in zip(*one_way, strict=True)]
    directions = 2 if layer.bidirectional else 1
    state = (directions, inputs.shape[0], layer.hidden_size)
    states = [state] * (2 if layer.mode == "LSTM" else 1)
    outputs, *last = torch.onnx.ops.symbolic_multi_out(
        _OPERATOR[layer.mode],
        [inputs.transpose(0, 1), *kinds, lengths.to(torch.int32)],
        attrs={
            "hidden_size": layer.hidden_size,
            "direction": "bidirectional" if layer.bidirectional else "forward",
            **({"linear_before_reset": 1} if layer.mode == "GRU" else {}),
        },
        dtypes=[inputs.dtype] * (1 + len(states)),
        shapes=[(inputs.shape[1], *state), *states],
        version=_OPSET,
    )
    return outputs.permute(2, 0, 1, 3).flatten(2), tuple(last)


def _reordered(layer: nn.RNNBase, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """W, R and both biases of one direction, gates in ONNX's order."""
    size = layer.hidden_size
    rows = [slice(gate * size, (gate + 1) * size) for gate in _GATES[layer.mode]]
    of_input, of_state, *biases = (torch.cat([weight[r] for r in rows]) for weight in weights)
    return of_input, of_state, torch.cat(biases)
