"""The encoder reads the source and keeps every hidden state (Bahdanau et al. 2015, 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from jumok.config import EncoderConfig
from jumok.nn.dropout import Dropout
from jumok.nn.embedding import Embedding
from jumok.nn.masks import feature_masks, length_mask, places, zero_elsewhere
from jumok.nn.memory import RNNState
from jumok.nn.rnn import RNN


class Encoded(NamedTuple):
    """What was read. Values are zeros where ``mask`` is False; ``final`` is that of the text."""

    values: Float[Tensor, "batch src_len memory"]
    mask: Bool[Tensor, "batch src_len"]
    final: RNNState
    feature_values: Float[Tensor, "batch src_len memory"] | None = None
    feature_mask: Bool[Tensor, "batch src_len"] | None = None


class Encoder(nn.Module):
    """Embedding and a recurrent stack; padding never changes a result.

    A bidirectional bottom under layers that read forwards is Wu et al. 2016, section 3.2, figure 3.
    Differs: their two directions joined are twice as wide as the layers above; here every layer has
    one size, so that bridges and residual connections need no exception.

    Features that are read apart have a stack of one layer of their own. It reads what has an id of
    ``text_vocab`` or more, the other stack all else; each sees its tokens as if they stood alone.

    Without ``hands_up``, values are not for use: only the last states are.
    """

    def __init__(
        self, config: EncoderConfig, vocab: int, text_vocab: int, hands_up: bool = True
    ) -> None:
        super().__init__()
        self.embedding = Embedding(vocab, config.embedding, config.dropout, config.token_dropout)
        self.dropout = Dropout(config.dropout)
        both = config.bidirectional_layers or config.layers
        self.rnn = RNN(
            config.cell,
            config.embedding,
            config.memory,
            config.layers,
            config.dropout,
            both if config.bidirectional else 0,
            config.residual,
            config.layer_norm,
            hands_up,
        )
        self.text_vocab = text_vocab
        self.apart = config.features == "apart"
        if self.apart:
            self.feature_rnn = RNN(
                config.cell,
                config.embedding,
                config.memory,
                layers=1,
                dropout=0.0,
                bidirectional_layers=int(config.bidirectional),
                layer_norm=config.layer_norm,
            )

    def forward(
        self, source: Int[Tensor, "batch src_len"], lengths: Int[Tensor, "batch"]
    ) -> Encoded:
        """The top layer's outputs and the last state of every layer."""
        embedded = self.embedding(source)
        mask = length_mask(lengths, source.shape[1])
        if not self.apart:
            values, final = self.rnn(embedded, lengths=lengths)
            return Encoded(self.dropout(values), mask, final)
        text, features = feature_masks(source, mask, self.text_vocab)
        values, final = _read(self.rnn, embedded, text)
        feature_values, _ = _read(self.feature_rnn, embedded, features)
        return Encoded(self.dropout(values), text, final, self.dropout(feature_values), features)


def _read(
    rnn: RNN,
    embedded: Float[Tensor, "batch src_len embedding"],
    chosen: Bool[Tensor, "batch src_len"],
) -> tuple[Float[Tensor, "batch src_len memory"], RNNState]:
    """Run over the chosen positions alone; their outputs come back at their places."""
    count = chosen.sum(dim=1)
    # the chosen first, as they stand: where each goes, and who comes to each place
    goes = torch.where(chosen, places(chosen), count[:, None] + places(~chosen)) - 1
    position = torch.arange(chosen.shape[1], device=goes.device).expand_as(goes)
    order = torch.zeros_like(goes).scatter(1, goes, position)
    lengths = count.clamp_min(1)  # a row with none reads one token in vain
    gathered = embedded.gather(1, order[:, :, None].expand_as(embedded))
    outputs, final = rnn(gathered, lengths=lengths)
    back = goes[:, :, None].expand_as(outputs)
    return zero_elsewhere(outputs.gather(1, back), chosen), final
