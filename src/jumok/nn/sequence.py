"""One recurrent layer over a batch of sentences, each as if it stood alone.

Three roads with one result. A batch without padding goes to torch's module as it is. One with a
lot of it is packed (`torch.nn.utils.rnn.pack_padded_sequence`), which is exact by construction but
leaves torch's fast kernels. Else, and on a GPU wherever roads are fast, padding is run over and
made harmless:

- a direction that reads backwards gets each row turned around within its length, so that padding
  comes last in either direction and no real token follows it;
- the last state is the output at the last real token;
- an LSTM's last cell is frozen there: the input has one more value, 1 at padding and 0 elsewhere,
  which shuts the input gate and opens the forget gate, so that ``c_t = 1 c_{t-1} + 0 g_t``.

While a graph is exported, a layer is one node of it (`jumok.nn.layer_node`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from jumok.nn.arithmetic import at_least_float32
from jumok.nn.layer_node import run_node
from jumok.nn.masks import length_mask, padding_flag, zero_elsewhere

Directed = Float[Tensor, "directions batch share"]
"""A state of one layer as torch has it."""

LayerState = Directed | tuple[Directed, Directed]
"""A layer's state; an LSTM's with its cell."""

_SHARE = 0.7
"""Least share of real tokens for which running over padding is faster than packing it away, on one
core: packing costs 1.3 to 1.5 times as much for each token (batches of 64, sizes 128 to 512)."""

# said by cuDNN's road for each product of weights that lie apart, as those of one direction do
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")

_FROZEN = 1e4
"""Far more than weights add up to: the sigmoid of +-this is exactly 1 and 0."""


def run_layer(
    layer: nn.RNNBase,
    inputs: Float[Tensor, "batch length input"],
    first: LayerState | None = None,
    lengths: Int[Tensor, "batch"] | None = None,
    fast: bool = True,
) -> tuple[Float[Tensor, "batch length size"], LayerState]:
    """Outputs, and the state after each row's last real token.

    With ``lengths`` there is no ``first``, and outputs at padding are zeros. Not ``fast``: padding
    is always packed away. Under autocast the layer stays in float32: torch's
    bfloat16 kernel rounds the cell at every step, and less than 1/256 of it is never added.
    """
    if torch.compiler.is_exporting():
        assert lengths is not None, "only encoders run over whole sequences in a graph"
        outputs, last = run_node(layer, inputs, lengths)
        return outputs, last if len(last) == 2 else last[0]
    device = inputs.device.type
    if torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return _run(layer, at_least_float32(inputs), first, lengths, fast)
    return _run(layer, inputs, first, lengths, fast)


def _run(
    layer: nn.RNNBase,
    inputs: Float[Tensor, "batch length input"],
    first: LayerState | None,
    lengths: Int[Tensor, "batch"] | None,
    fast: bool,
) -> tuple[Float[Tensor, "batch length size"], LayerState]:
    if lengths is None:
        return layer(inputs, first)
    assert first is None
    if fast and inputs.is_cuda:  # packing would wait for the lengths, and no CUDA graph holds it
        return _over_padding(layer, inputs, lengths)
    lengths = lengths.cpu()
    if fast and inputs.device.type == "cpu":
        real, places = int(lengths.sum()), inputs.shape[0] * inputs.shape[1]
        if real == places:
            return layer(inputs)
        if real >= _SHARE * places:
            return _over_padding(layer, inputs, lengths)
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    outputs, last = layer(packed)
    outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=inputs.shape[1])
    return outputs, last


def _over_padding(
    layer: nn.RNNBase,
    inputs: Float[Tensor, "batch length input"],
    lengths: Int[Tensor, "batch"],
) -> tuple[Float[Tensor, "batch length size"], LayerState]:
    mask = length_mask(lengths, inputs.shape[1])
    order = _turned(lengths, mask)
    weights = layer.all_weights
    outputs, last, cell = _one_way(layer, inputs, mask, weights[0])
    if layer.bidirectional:
        turned = _pick(inputs, order)
        back, back_last, back_cell = _one_way(layer, turned, mask, weights[1])
        outputs = torch.cat([outputs, _pick(back, order)], dim=2)
        last, cell = torch.cat([last, back_last]), torch.cat([cell, back_cell])
    outputs = zero_elsewhere(outputs, mask)
    return outputs, (last, cell) if layer.mode == "LSTM" else last


def _one_way(
    layer: nn.RNNBase,
    inputs: Float[Tensor, "batch length input"],
    mask: Bool[Tensor, "batch length"],
    weights: Sequence[Tensor],
) -> tuple[Float[Tensor, "batch length share"], Directed, Directed]:
    """One direction, forwards: outputs, and state and cell (an LSTM's; of others zeros) after the
    last real token."""
    zeros = inputs.new_zeros(1, inputs.shape[0], layer.hidden_size)
    how = True, 1, 0.0, layer.training, False, True  # biases, layers, dropout, ..., batch first
    if layer.mode == "LSTM":
        inputs = torch.cat([inputs, padding_flag(mask, inputs)], dim=2)
        weights = [torch.cat([weights[0], _freezing(weights[0])], dim=1), *weights[1:]]
        outputs, _, cell = torch.lstm(inputs, (zeros, zeros), weights, *how)
    else:
        assert layer.mode in ("GRU", "RNN_TANH"), layer.mode
        run = torch.gru if layer.mode == "GRU" else torch.rnn_tanh
        outputs, _ = run(inputs, zeros, list(weights), *how)
        cell = zeros
    last = mask.sum(dim=1, keepdim=True) - 1
    return outputs, _pick(outputs, last).transpose(0, 1), cell


def _freezing(weight: Float[Tensor, "gates input"]) -> Float[Tensor, "gates 1"]:
    """What padding adds to an LSTM's gates, which lie as i, f, g, o."""
    column = weight.new_zeros(4, weight.shape[0] // 4)
    column[0], column[1] = -_FROZEN, _FROZEN
    return column.view(-1, 1)


def _turned(
    lengths: Int[Tensor, "batch"], mask: Bool[Tensor, "batch length"]
) -> Int[Tensor, "batch length"]:
    """Positions of each row from its last real token to its first; padding stays in its place."""
    position = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    return torch.where(mask, lengths[:, None] - 1 - position, position)


def _pick(
    values: Float[Tensor, "batch length size"], positions: Int[Tensor, "batch chosen"]
) -> Float[Tensor, "batch chosen size"]:
    """The values at the given positions of each row."""
    return values.gather(1, positions[:, :, None].expand(-1, -1, values.shape[2]))
