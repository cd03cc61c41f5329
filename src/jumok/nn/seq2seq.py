"""Encoder and decoder as one module: tensors in, tensors out; never a string or a file."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from jumok.config import ModelConfig
from jumok.nn.attention import Attention
from jumok.nn.decoder import Decoder
from jumok.nn.encoder import Encoder
from jumok.nn.memory import DecoderOutput, Memory, OwnTokens
from jumok.nn.rnn import RNN


class Seq2Seq(nn.Module):
    """An RNN encoder-decoder with or without attention; without encoder, a language model.

    That is p(y) = prod_t p(y_t | y_1 .. y_{t-1}), the decoder's recurrence from a state of zeros
    (Mikolov et al. 2010); of its source, only the number of rows counts.

    Args:
        config: sizes and mechanisms.
        source_vocab, target_vocab: sizes of the vocabularies, special tokens included.
        text_vocab: source ids from here on are features; without it, there are none.
    """

    def __init__(
        self,
        config: ModelConfig,
        source_vocab: int,
        target_vocab: int,
        text_vocab: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = (
            Encoder(config.encoder, source_vocab, text_vocab or source_vocab, config.reads_values)
            if config.kind == "seq2seq"
            else None
        )
        self.decoder = Decoder(config, target_vocab)

    def use_fast_roads(self, fast: bool) -> None:
        """Whether what is computed may be computed in another order than its definition's.

        They are on at first. Off, padding is packed away, the decoder is a loop over `step` whose
        steps share nothing, the inner tensor of the additive score and all logits exist at once,
        without room between their rows: the same values and gradients, to rounding. On, some have
        first derivatives alone.
        """
        for module in self.modules():
            if isinstance(module, Attention | Decoder | RNN):
                module.fast = fast

    def encode(
        self,
        source: Int[Tensor, "batch src_len"],
        lengths: Int[Tensor, "batch"],
        copies: Int[Tensor, "batch src_len"] | None = None,
    ) -> Memory:
        """Read the source (right-padded, every length at least 1). For ``copies`` see `Memory`."""
        if self.encoder is None:
            return self.decoder.remember_nothing(source.shape[0])
        return self.decoder.remember(self.encoder(source, lengths), copies)

    def forward(
        self,
        source: Int[Tensor, "batch src_len"],
        lengths: Int[Tensor, "batch"],
        target_in: Int[Tensor, "batch tgt_len"],
        copies: Int[Tensor, "batch src_len"] | None = None,
        own: OwnTokens | None = None,
    ) -> DecoderOutput:
        """Teacher-forced pass; ``decoder.logits`` turns its features into scores."""
        return self.decoder(target_in, self.encode(source, lengths, copies), own)

    def log_probs(
        self,
        source: Int[Tensor, "batch src_len"],
        lengths: Int[Tensor, "batch"],
        target_in: Int[Tensor, "batch tgt_len"],
        copies: Int[Tensor, "batch src_len"] | None = None,
    ) -> Float[Tensor, "batch tgt_len tokens"]:
        """Log-probabilities of every next token under teacher forcing."""
        memory = self.encode(source, lengths, copies)
        return self.decoder.log_probs(self.decoder(target_in, memory), memory)
