"""The encoder reads the source and keeps every hidden state (Bahdanau et al. 2015, 3.2)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from jumok.config import EncoderConfig
from jumok.nn.embedding import Embedding
from jumok.nn.memory import RNNState
from jumok.nn.rnn import RNN


class Encoder(nn.Module):
    """Embedding and a recurrent stack; padding is packed away and never changes a result.

    A bidirectional bottom under layers that read forwards is Wu et al. 2016, section 3.2, figure 3.
    Differs: their two directions joined are twice as wide as the layers above; here every layer has
    one size, so that bridges and residual connections need no exception.
    """

    def __init__(self, config: EncoderConfig, vocab: int) -> None:
        super().__init__()
        self.embedding = Embedding(vocab, config.embedding, config.dropout, config.token_dropout)
        self.dropout = nn.Dropout(config.dropout)
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
        )

    def forward(
        self, source: Int[Tensor, "batch src_len"], lengths: Int[Tensor, "batch"]
    ) -> tuple[Float[Tensor, "batch src_len memory"], RNNState]:
        """The top layer's outputs (zeros at padding) and the last state of every layer."""
        values, final = self.rnn(self.embedding(source), lengths=lengths)
        return self.dropout(values), final
