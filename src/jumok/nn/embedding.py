"""Token embeddings with two kinds of dropout."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jumok.nn.dropout import Dropout


class Embedding(nn.Module):
    """A vector for each token.

    While training, ``dropout`` zeroes single values (Srivastava et al. 2014) and ``token_dropout``
    whole tokens (Gal & Ghahramani 2016, section 4.2). Differs: they drop all occurrences of a word
    type in a sequence together; we draw each occurrence by itself, as Sennrich & Zhang 2019 do.

    ``scale`` multiplies what is read. A table that is also the readout has sqrt(size): see
    `jumok.nn.init`.
    """

    def __init__(
        self, vocab: int, size: int, dropout: float, token_dropout: float, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.scale = scale
        table = torch.empty(vocab, size)
        if not table.is_meta:  # there to draw would be for nothing, and loads torch's compiler
            nn.init.normal_(table)
        self.table = nn.Embedding(vocab, size, _weight=table)
        self.dropout = Dropout(dropout)
        self.token_dropout = Dropout(token_dropout)

    def forward(self, tokens: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape size"]:
        """Look the tokens up."""
        vectors = self.table(tokens)
        if self.scale != 1.0:
            vectors = vectors * self.scale
        if self.training and self.token_dropout.p > 0:
            vectors = vectors * self.token_dropout(vectors.new_ones(*tokens.shape, 1))
        return self.dropout(vectors)
