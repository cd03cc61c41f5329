"""The decoder: one RNN, and the four places where attention can meet it.

One step, with y the token before, s the state, c the context, a the attentional state::

    x_t = [E y_{t-1}; c_t            where context = rnn_input (asked with s_{t-1}; Bahdanau)
                    ; a_{t-1}        where input_feeding (or c_{t-1} where there is no a; Luong 3.3)
                    ; h_n]           where score = peek
    s_t = RNN(x_t, s_{t-1})
    c_t = attention(s_{t-1} or s_t)                    timing = previous or current
    features = s_t                                     no attention, or context = rnn_input
             | [s_t; h_n]                              peek
             | [c_t; s_t]                              context = concat
             | a_t = tanh(W_c [c_t; s_t] + b_c)        context = attentional (Luong eq. 5)
    logits = readout(features)

Where the readout is maxout, E y_{t-1} (and c_t, if not yet there) join the features.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from jumok.config import ModelConfig
from jumok.nn.attention import Attention
from jumok.nn.bridge import Bridge
from jumok.nn.embedding import Embedding
from jumok.nn.memory import DecoderOutput, DecoderState, Memory, RNNState, StepOutput
from jumok.nn.readout import LinearReadout, MaxoutReadout
from jumok.nn.rnn import RNN


class Decoder(nn.Module):
    """Embedding, bridge, recurrent stack, attention and readout."""

    def __init__(self, config: ModelConfig, vocab: int) -> None:
        super().__init__()
        dec, att, memory = config.decoder, config.attention, config.encoder.memory
        self.config = config
        self.embedding = Embedding(vocab, dec.embedding, dec.dropout, dec.token_dropout)
        self.dropout = nn.Dropout(dec.dropout)
        self.bridge = Bridge(config)
        self.attention = Attention(att, dec.hidden, memory) if att.attends else None
        if att.attends and att.context == "attentional":
            self.combine = nn.Linear(memory + dec.hidden, dec.hidden)
        sizes = _Sizes(config)
        self.feed_size = sizes.feed
        self.rnn = RNN(dec.cell, sizes.rnn_input, dec.hidden, dec.layers, dec.dropout)
        self.readout = (
            MaxoutReadout(sizes.features, dec.hidden // 2, vocab)
            if dec.readout == "maxout"
            else LinearReadout(sizes.features, vocab)
        )

    @property
    def feeds_back(self) -> bool:
        """Whether the attention of one step enters the RNN of a later one."""
        att = self.config.attention
        return att.attends and (att.input_feeding or att.context == "rnn_input")

    def remember(
        self,
        values: Float[Tensor, "batch src_len memory"],
        mask: Bool[Tensor, "batch src_len"],
        final: RNNState,
    ) -> Memory:
        """The encoder's result as `Memory`, keys projected."""
        keys = None if self.attention is None else self.attention.keys(values)
        return Memory(values, keys, mask, final)

    def init_state(self, memory: Memory) -> DecoderState:
        """The state before the first token; what is fed in first is zeros (Luong 3.3)."""
        feed = None
        if self.feed_size:
            feed = memory.values.new_zeros(memory.values.shape[0], self.feed_size)
        return DecoderState(self.bridge(memory.final), feed)

    def step(self, tokens: Int[Tensor, "batch"], state: DecoderState, memory: Memory) -> StepOutput:
        """Read one token per row; give scores for the next, the new state and the weights."""
        embedded = self.embedding(tokens)
        features, state, weights, context = self._advance(embedded, state, memory)
        return StepOutput(self.logits(features), state, weights, context)

    def forward(self, target_in: Int[Tensor, "batch tgt_len"], memory: Memory) -> DecoderOutput:
        """Teacher forcing: all of ``target_in`` (from <s>) is given.

        Equals the loop over `step`. Where nothing feeds back, the RNN runs over the whole target
        in one call and attention is two batched products.
        """
        embedded = self.embedding(target_in)
        state = self.init_state(memory)
        if not self.feeds_back:
            return self._forward_at_once(embedded, state, memory)
        features, weights = [], []
        for position in range(target_in.shape[1]):
            feature, state, weight, _ = self._advance(embedded[:, position], state, memory)
            features.append(feature)
            weights.append(weight)
        return DecoderOutput(
            torch.stack(features, dim=1), torch.stack([w for w in weights if w is not None], dim=1)
        )

    def logits(self, features: Float[Tensor, "*rows features"]) -> Float[Tensor, "*rows vocab"]:
        """Scores over the vocabulary; give it only the rows that are needed."""
        return self.readout(self.dropout(features))

    def _advance(
        self, embedded: Float[Tensor, "batch embedding"], state: DecoderState, memory: Memory
    ) -> tuple[
        Float[Tensor, "batch features"],
        DecoderState,
        Float[Tensor, "batch src_len"] | None,
        Float[Tensor, "batch memory"] | None,
    ]:
        context = weights = None
        if self.attention and self.config.attention.timing == "previous":
            context, weights = self._attend(state.rnn.hidden[:, -1], memory)
        parts = [embedded]
        if self.attention and self.config.attention.context == "rnn_input":
            assert context is not None
            parts.append(context)
        if state.feed is not None:
            parts.append(state.feed)
        if self.config.attention.score == "peek":
            parts.append(memory.thought)
        top, rnn_state = self.rnn.step(torch.cat(parts, dim=-1), state.rnn)
        if self.attention and self.config.attention.timing == "current":
            context, weights = self._attend(top, memory)
        combined = self._combine(top, context, memory.thought)
        feed = state.feed
        if feed is not None:
            feed = combined if self.config.attention.context == "attentional" else context
        features = self._for_readout(combined, embedded, context)
        return features, DecoderState(rnn_state, feed), weights, context

    def _forward_at_once(
        self,
        embedded: Float[Tensor, "batch tgt_len embedding"],
        state: DecoderState,
        memory: Memory,
    ) -> DecoderOutput:
        thought = memory.thought[:, None].expand(-1, embedded.shape[1], -1)
        peeks = self.config.attention.score == "peek"
        inputs = torch.cat([embedded, thought], dim=-1) if peeks else embedded
        states, _ = self.rnn(inputs, state.rnn)
        context = weights = None
        if self.attention is not None:
            query = states
            if self.config.attention.timing == "previous":
                query = torch.cat([state.rnn.hidden[:, -1:], states[:, :-1]], dim=1)
            context, weights = self.attention(query, memory)
        combined = self._combine(states, context, thought)
        return DecoderOutput(self._for_readout(combined, embedded, context), weights)

    def _attend(
        self, query: Float[Tensor, "batch hidden"], memory: Memory
    ) -> tuple[Float[Tensor, "batch memory"], Float[Tensor, "batch src_len"]]:
        assert self.attention is not None
        context, weights = self.attention(query[:, None], memory)
        return context[:, 0], weights[:, 0]

    def _combine(
        self,
        state: Float[Tensor, "*rows hidden"],
        context: Float[Tensor, "*rows memory"] | None,
        thought: Float[Tensor, "*rows memory"],
    ) -> Float[Tensor, "*rows combined"]:
        """State and context as the attention's ``context`` axis says."""
        att = self.config.attention
        if att.score == "peek":
            return torch.cat([state, thought], dim=-1)
        if context is None or att.context == "rnn_input":
            return state
        joined = torch.cat([context, state], dim=-1)
        return torch.tanh(self.combine(joined)) if att.context == "attentional" else joined

    def _for_readout(
        self,
        combined: Float[Tensor, "*rows combined"],
        embedded: Float[Tensor, "*rows embedding"],
        context: Float[Tensor, "*rows memory"] | None,
    ) -> Float[Tensor, "*rows features"]:
        if self.config.decoder.readout == "linear":
            return combined
        parts = [combined, embedded]
        if context is not None and self.config.attention.context == "rnn_input":
            parts.append(context)
        return torch.cat(parts, dim=-1)


class _Sizes:
    """Sizes that follow from the axes, beside the code they must agree with."""

    def __init__(self, config: ModelConfig) -> None:
        dec, att, memory = config.decoder, config.attention, config.encoder.memory
        self.feed = 0
        if att.input_feeding:
            self.feed = dec.hidden if att.context == "attentional" else memory
        into_rnn = att.attends and att.context == "rnn_input"
        peeks = att.score == "peek"
        self.rnn_input = dec.embedding + self.feed + memory * (into_rnn + peeks)
        joined = peeks or (att.attends and att.context == "concat")
        self.features = dec.hidden + memory * joined
        if dec.readout == "maxout":
            self.features += dec.embedding + memory * into_rnn
