"""Values that travel between encoder, attention and decoder: state goes in and comes out.

Everything is batch first. ``select(index)`` picks rows of the batch, which is all that a search
needs to reorder hypotheses or to drop finished ones.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class RNNState(NamedTuple):
    """State of a stack of recurrent layers; ``cell`` only for the LSTM."""

    hidden: Float[Tensor, "batch layers hidden"]
    cell: Float[Tensor, "batch layers hidden"] | None

    def select(self, index: Int[Tensor, "rows"]) -> RNNState:
        """The given rows of the batch."""
        return RNNState(self.hidden[index], None if self.cell is None else self.cell[index])


class Memory(NamedTuple):
    """What the encoder leaves: V, K and the mask of the lecture notes; the decoder brings Q.

    ``keys`` are the values as the score wants them, projected once per source; None where
    there is no attention. ``final`` is the encoder's last state, both directions joined.
    """

    values: Float[Tensor, "batch src_len memory"]
    keys: Float[Tensor, "batch src_len key"] | None
    mask: Bool[Tensor, "batch src_len"]
    final: RNNState

    @property
    def thought(self) -> Float[Tensor, "batch memory"]:
        """The source in one vector: the top layer's last state."""
        return self.final.hidden[:, -1]

    def select(self, index: Int[Tensor, "rows"]) -> Memory:
        """The given rows of the batch."""
        return Memory(
            self.values[index],
            None if self.keys is None else self.keys[index],
            self.mask[index],
            self.final.select(index),
        )


class DecoderState(NamedTuple):
    """What one decoding step hands to the next; ``feed`` only with input feeding."""

    rnn: RNNState
    feed: Float[Tensor, "batch feed"] | None

    def select(self, index: Int[Tensor, "rows"]) -> DecoderState:
        """The given rows of the batch."""
        return DecoderState(self.rnn.select(index), None if self.feed is None else self.feed[index])


class StepOutput(NamedTuple):
    """Result of one decoding step. ``weights`` and ``context`` are None without attention."""

    logits: Float[Tensor, "batch vocab"]
    state: DecoderState
    weights: Float[Tensor, "batch src_len"] | None
    context: Float[Tensor, "batch memory"] | None


class DecoderOutput(NamedTuple):
    """Result of a teacher-forced pass; ``features`` are what the readout turns into logits."""

    features: Float[Tensor, "batch tgt_len features"]
    weights: Float[Tensor, "batch tgt_len src_len"] | None
