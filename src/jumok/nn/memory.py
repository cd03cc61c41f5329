"""Values that travel between encoder, attention and decoder: state goes in and comes out.

Everything is batch first. ``select(index)`` picks rows of the batch, which is all that a search
needs to reorder hypotheses or to drop finished ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class RNNState(NamedTuple):
    """State of a stack of recurrent layers; ``cell`` only for the LSTM."""

    hidden: Float[Tensor, "batch layers hidden"]
    cell: Float[Tensor, "batch layers hidden"] | None

    def select(self, index: Int[Tensor, "rows"]) -> RNNState:
        """The given rows of the batch."""
        return RNNState(self.hidden[index], None if self.cell is None else self.cell[index])

    def split(self, layer: int) -> tuple[RNNState, RNNState]:
        """The layers below ``layer``, and the rest."""
        cells = (None, None) if self.cell is None else (self.cell[:, :layer], self.cell[:, layer:])
        return (
            RNNState(self.hidden[:, :layer], cells[0]),
            RNNState(self.hidden[:, layer:], cells[1]),
        )

    def join(self, above: RNNState) -> RNNState:
        """These layers and those of ``above`` on top."""
        hidden = torch.cat([self.hidden, above.hidden], dim=1)
        if self.cell is None or above.cell is None:
            return RNNState(hidden, None)
        return RNNState(hidden, torch.cat([self.cell, above.cell], dim=1))


class FeatureMemory(NamedTuple):
    """`Memory` of features that are read apart, at their places in the source."""

    values: Float[Tensor, "batch src_len memory"]
    keys: Float[Tensor, "batch src_len key"]
    mask: Bool[Tensor, "batch src_len"]

    def select(self, index: Int[Tensor, "rows"]) -> FeatureMemory:
        """The given rows of the batch."""
        return FeatureMemory(self.values[index], self.keys[index], self.mask[index])


class Memory(NamedTuple):
    """What the encoder leaves: V, K and the mask of the lecture notes; the decoder brings Q.

    ``values`` are the encoder's states (as the heads read them, where there are heads) and
    ``keys`` the states as the score wants them, both projected once per source; ``keys`` is None
    where there is no attention. ``final`` is the encoder's last state, both directions joined.
    ``copies`` only where source tokens can be copied: the target token each would be, see
    `jumok.nn.copying`. ``mean`` only where the bridge starts from it: the mean of the encoder's
    states. ``features`` only where these are read apart: what their own encoder leaves, its mask
    True at the features and this one at the text.
    """

    values: Float[Tensor, "batch src_len memory"]
    keys: Float[Tensor, "batch src_len key"] | None
    mask: Bool[Tensor, "batch src_len"]
    final: RNNState
    copies: Int[Tensor, "batch src_len"] | None = None
    mean: Float[Tensor, "batch memory"] | None = None
    features: FeatureMemory | None = None

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
            None if self.copies is None else self.copies[index],
            None if self.mean is None else self.mean[index],
            None if self.features is None else self.features.select(index),
        )


class DecoderState(NamedTuple):
    """What one decoding step hands to the next.

    ``feed`` only with input feeding, ``position`` (steps made so far) only where the attention
    counts steps, ``past`` (weights of earlier steps) only where it looks at them.
    """

    rnn: RNNState
    feed: Float[Tensor, "batch feed"] | None = None
    position: Int[Tensor, "batch"] | None = None
    past: Float[Tensor, "batch src_len kinds"] | None = None

    def select(self, index: Int[Tensor, "rows"]) -> DecoderState:
        """The given rows of the batch."""
        feed, position, past = (
            None if part is None else part[index] for part in (self.feed, self.position, self.past)
        )
        return DecoderState(self.rnn.select(index), feed, position, past)


class StepOutput(NamedTuple):
    """Result of one decoding step. ``weights`` and ``context`` are None without attention.

    ``weights`` have an axis of heads only where there are several. ``switch`` only where source
    tokens can be copied: the log-odds of generating a token; ``feature_weights`` only where the
    features are read apart.
    """

    logits: Float[Tensor, "batch vocab"]
    state: DecoderState
    weights: Float[Tensor, "batch *heads src_len"] | None
    context: Float[Tensor, "batch context"] | None
    switch: Float[Tensor, "batch"] | None = None
    feature_weights: Float[Tensor, "batch *heads src_len"] | None = None


class OwnTokens(NamedTuple):
    """Where the decoder reads its own token of the step before instead of the target's.

    Scheduled sampling: Bengio et al. 2015, section 2.4. A coin is tossed for every token, and the
    model's own is either of the two that they name. No gradient goes through the choice.
    """

    given: Bool[Tensor, "batch tgt_len"]
    """True where the target's token is read. The first always is: it is ``<s>``."""
    sample: bool
    """Draw the token by its probability; else it is the most probable one."""
    unknown: int
    """What is read for a token beyond the vocabulary, which was copied."""


class DecoderOutput(NamedTuple):
    """Result of a teacher-forced pass; ``features`` are what the readout turns into logits.

    The others as in `StepOutput`.
    """

    features: Float[Tensor, "batch tgt_len features"]
    weights: Float[Tensor, "batch *heads tgt_len src_len"] | None
    switch: Float[Tensor, "batch tgt_len"] | None = None
    feature_weights: Float[Tensor, "batch *heads tgt_len src_len"] | None = None
