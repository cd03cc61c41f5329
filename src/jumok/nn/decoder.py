"""The decoder: one RNN, and the places where attention can meet it.

One step, with y the token before, s the state, c the context, a the attentional state::

    x_t = [E y_{t-1}; c_t            where timing = previous and context = rnn_input (Bahdanau)
                    ; a_{t-1}        where input_feeding (or c_{t-1} where there is no a; Luong 3.3)
                    ; h_n]           where score = peek
    s_t = RNN(x_t, s_{t-1})
    s_t = RNN'(c_t, s'_t)            where timing = mid, s'_t being the line above
    c_t = attention(s_{t-1}, s'_t or s_t)              timing = previous, mid or current
    features = s_t                                     no attention, or context = rnn_input
             | [s_t; h_n]                              peek
             | [c_t; s_t]                              context = concat
             | a_t = tanh(W_c [c_t; s_t] + b_c)        context = attentional (Luong eq. 5)
    logits = readout(features)

Where the readout is maxout, E y_{t-1} (and c_t, if not yet there) join the features.

Score peek is the decoder of Cho et al. 2014, appendix A.1.2. Differs: h_n is the encoder's last
state as it is, where the paper's c is tanh(V h_n).

Timing mid is the conditional GRU of Sennrich et al. 2017 (Nematus), section 2: two transitions with
the attention between them. Differs: any kind of cell, and in a stack the second transition is that
of the top layer. With residual connections it counts as one more layer, to whose output the first
transition's is added.

Where residual connections or layer normalisation make the output x of the top layer another than
its state m (`jumok.nn.rnn`), s_t and s'_t are x; but what asks as s_{t-1}, and what either
transition goes on from, is m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from jumok.config import ModelConfig
from jumok.nn.arithmetic import at_least_float32, linear_alone
from jumok.nn.attention import Attention, SharedMemory, mean_of_heads
from jumok.nn.bridge import Bridge
from jumok.nn.cells import SharedCell
from jumok.nn.copying import mixture
from jumok.nn.dropout import Dropout
from jumok.nn.embedding import Embedding
from jumok.nn.encoder import Encoded
from jumok.nn.masks import impossible_elsewhere, masked_mean
from jumok.nn.memory import (
    DecoderOutput,
    DecoderState,
    FeatureMemory,
    Memory,
    OwnTokens,
    RNNState,
    StepOutput,
)
from jumok.nn.readout import Columns, LastMap, LinearReadout, MaxoutReadout
from jumok.nn.rnn import RNN
from jumok.nn.shared import Shared

WHOLE = {"scope": "global", "coverage": False, "location_width": 0}
"""How features are attended to: they are a handful, looked at as a whole, again and again."""


class Decoder(nn.Module):
    """Embedding, bridge, recurrent stack, attention and readout."""

    def __init__(self, config: ModelConfig, vocab: int) -> None:
        super().__init__()
        dec, att, memory = config.decoder, config.attention, config.encoder.memory
        self.config = config
        self.fast = True
        scale = math.sqrt(dec.embedding) if dec.tied else 1.0
        self.embedding = Embedding(vocab, dec.embedding, dec.dropout, dec.token_dropout, scale)
        self.dropout = Dropout(dec.dropout)
        self.bridge = Bridge(config)
        self.attention = Attention(att, dec.hidden, memory) if att.attends else None
        if config.encoder.features == "apart":
            whole = att.model_copy(update=WHOLE)
            self.feature_attention = Attention(whole, dec.hidden, memory)
        if att.attends and att.context == "attentional":
            self.combine = nn.Linear(config.context + dec.hidden, dec.hidden)
        sizes = _Sizes(config)
        self.feed_size = sizes.feed
        self.rnn = RNN(
            dec.cell,
            sizes.rnn_input,
            dec.hidden,
            dec.layers,
            dec.dropout,
            residual=dec.residual,
            layer_norm=dec.layer_norm,
        )
        if att.attends and att.timing == "mid":
            self.second_rnn = RNN(
                dec.cell,
                config.context,
                dec.hidden,
                layers=1,
                dropout=0.0,
                layer_norm=dec.layer_norm,
            )
        self.readout = (
            MaxoutReadout(sizes.features, dec.hidden // 2, vocab, dec.tied)
            if dec.readout == "maxout"
            else LinearReadout(sizes.features, vocab, dec.tied)
        )
        if att.attends and att.copy_tokens:
            self.switch = nn.Linear(config.context + dec.hidden + dec.embedding, 1)

    @property
    def feeds_back(self) -> bool:
        """Whether the attention of one step enters a later one."""
        att = self.config.attention
        fed = att.input_feeding or att.context == "rnn_input"
        return att.attends and (fed or att.coverage or att.location_width > 0)

    @property
    def _goes_step_by_step(self) -> bool:
        """Whether teacher forcing needs one step after the other. A state asks (timing previous)
        that the RNN, run at once, keeps to itself where its output is not its state."""
        asks_first = self.attention is not None and self.config.attention.timing == "previous"
        return self.feeds_back or (asks_first and not self.rnn.hands_up_its_state)

    @property
    def _counts_steps(self) -> bool:
        return self.attention is not None and self.config.attention.scope == "local_m"

    def remember(
        self,
        encoded: Encoded,
        copies: Int[Tensor, "batch src_len"] | None = None,
    ) -> Memory:
        """The encoder's result as `Memory`, keys and values projected."""
        values, mask, final, feature_values, feature_mask = encoded
        mean = masked_mean(values, mask) if self.config.decoder.bridge == "mean" else None
        if self.attention is None:
            return Memory(values, None, mask, final, mean=mean)
        features = None
        if feature_values is not None and feature_mask is not None:
            keys = self.feature_attention.keys(feature_values)
            projected = self.feature_attention.values(feature_values)
            features = FeatureMemory(projected, keys, feature_mask)
        values = values.contiguous()  # else torch would copy them at every step
        keys = self.attention.keys(values)
        return Memory(self.attention.values(values), keys, mask, final, copies, mean, features)

    def remember_nothing(self, batch: int) -> Memory:
        """The memory of a language model: one position that nobody looks at, and zeros."""
        like = self.embedding.table.weight
        nothing = like.new_zeros(batch, 1, 1)
        mask = torch.ones(batch, 1, dtype=torch.bool, device=like.device)
        return Memory(nothing, None, mask, RNNState(nothing, None))

    def init_state(self, memory: Memory) -> DecoderState:
        """The state before the first token; what is fed in first is zeros (Luong 3.3)."""
        feed = None
        if self.feed_size:
            feed = memory.values.new_zeros(memory.values.shape[0], self.feed_size)
        position = None
        if self._counts_steps:
            position = torch.zeros_like(memory.mask[:, 0], dtype=torch.long)
        past = None if self.attention is None else self.attention.first_past(memory.values)
        return DecoderState(self.bridge(memory.final, memory.mean), feed, position, past)

    def step(
        self,
        tokens: Int[Tensor, "batch"],
        state: DecoderState,
        memory: Memory,
        columns: Columns | None = None,
    ) -> StepOutput:
        """Read one token per row; give scores for the next, the new state and the weights.

        With ``columns``, scores of their tokens alone, -inf where a row may not write them.
        """
        made = self._advance(self.embedding(tokens), state, memory)
        logits = self.logits(made.features, columns)
        weights, feature_weights = made.looked.weights, made.looked.feature_weights
        return StepOutput(
            logits, made.state, weights, made.looked.context, made.switch, feature_weights
        )

    def forward(
        self,
        target_in: Int[Tensor, "batch tgt_len"],
        memory: Memory,
        own: OwnTokens | None = None,
    ) -> DecoderOutput:
        """Teacher forcing: all of ``target_in`` (from <s>) is given, but where ``own`` says.

        Equals the loop over `step`. Where no step waits for another, the fast road is to run the
        RNN over the whole target in one call; attention is then two batched products. Where steps
        wait, a loop that learns shares its products (`jumok.nn.shared`).
        """
        embedded = self.embedding(target_in)
        state = self.init_state(memory)
        if self.fast and own is None and not self._goes_step_by_step:
            return self._forward_at_once(embedded, state, memory)
        shared = None
        if self.fast and torch.is_grad_enabled():
            shared = self._share(embedded, memory, known=own is None)
        steps: list[_Advance] = []
        for position, read in enumerate(embedded.unbind(dim=1)):
            if own is not None and steps:
                read = self._own_where_not_given(read, own, position, steps[-1], memory)
            steps.append(self._advance(read, state, memory, shared))
            state = steps[-1].state
        return DecoderOutput(
            torch.stack([step.features for step in steps], dim=1),
            _stack([step.looked.weights for step in steps], dim=-2),
            _stack([step.switch for step in steps], dim=1),
            _stack([step.looked.feature_weights for step in steps], dim=-2),
        )

    def _share(
        self, embedded: Float[Tensor, "batch tgt_len embedding"], memory: Memory, known: bool
    ) -> _LoopShares:
        """What a loop over all steps shares; ``known`` says whether all its tokens are given."""
        by_step = embedded.transpose(0, 1)
        shape = by_step.shape[0], by_step.shape[1]
        combine = second = attention = features = None
        if hasattr(self, "combine"):
            bias = self.combine.bias.expand(*shape, -1)
            combine = Shared(self.combine.weight.t(), bias)
        if hasattr(self, "second_rnn"):
            second = self.second_rnn.share(None, shape)
        if self.attention is not None:
            attention = self.attention.share(memory, shape[0])
            if memory.features is not None:
                features = self.feature_attention.share(memory.features, shape[0])
        rnn = self.rnn.share(by_step if known else None, shape)
        return _LoopShares(known, rnn, second, combine, attention, features)

    def _own_where_not_given(
        self,
        embedded: Float[Tensor, "batch embedding"],
        own: OwnTokens,
        position: int,
        before: _Advance,
        memory: Memory,
    ) -> Float[Tensor, "batch embedding"]:
        """What is read at ``position``: the model's own token of the step ``before`` in the rows
        where none is given."""
        given = own.given[:, position]
        if not given.is_cuda and given.all():  # a GPU would have to be waited for
            return embedded
        # autocast of older torch keeps casts from under no_grad, and the loss would teach nothing
        with torch.set_grad_enabled(torch.is_autocast_enabled(embedded.device.type)):
            logits = self.logits(before.features).detach()
        with torch.no_grad():
            made = StepOutput(
                logits,
                before.state,
                before.looked.weights,
                before.looked.context,
                before.switch,
            )
            size = None
            if memory.copies is not None and memory.copies.is_cuda:  # again, not to wait: the most
                size = logits.shape[-1] + memory.copies.shape[1]
            log_probs = self.log_probs(made, memory, size)
            if own.sample:
                tokens = torch.multinomial(log_probs.exp(), 1)[:, 0]
            else:
                tokens = log_probs.argmax(dim=-1)
            vocab = self.embedding.table.num_embeddings
            tokens = tokens.masked_fill(tokens >= vocab, own.unknown)
        return torch.where(given[:, None], embedded, self.embedding(tokens))

    def columns(self, tokens: Int[Tensor, "some"], allowed: Bool[Tensor, "batch some"]) -> Columns:
        """What `step` needs to look at these ``tokens`` alone."""
        last = self.readout.last
        weight = self.embedding.table.weight if last.tied else last.weight
        bias = impossible_elsewhere(last.bias.index_select(0, tokens), allowed)
        return Columns(weight.index_select(0, tokens).t(), bias)

    def logits(
        self, features: Float[Tensor, "*rows features"], columns: Columns | None = None
    ) -> Float[Tensor, "*rows tokens"]:
        """Scores over the vocabulary, or of the ``columns``; give it only the rows that are
        needed."""
        x, weight, bias = self.last_map(features)
        if columns is not None:
            weight, bias = columns.weight.t(), columns.bias
        if self.fast and not torch.is_grad_enabled():
            return linear_alone(x, weight, bias)
        if columns is not None:
            return torch.addmm(bias, x, columns.weight)
        return nn.functional.linear(x, weight, bias)

    def last_map(self, features: Float[Tensor, "*rows features"]) -> LastMap:
        """The product that makes the logits, for a loss that needs them a few at a time."""
        table = self.embedding.table.weight if self.config.decoder.tied else None
        return self.readout.last_map(self.dropout(features), table)

    def log_probs(
        self, output: StepOutput | DecoderOutput, memory: Memory, size: int | None = None
    ) -> Float[Tensor, "batch *tgt_len tokens"]:
        """Log-probabilities of the next token, in float32 at least.

        Where source tokens can be copied, of all ``size`` tokens of the extended vocabulary
        (without ``size``, as many as this batch needs).
        """
        logits = output.logits if isinstance(output, StepOutput) else self.logits(output.features)
        logits = at_least_float32(logits)
        if output.switch is None or memory.copies is None:
            return logits.log_softmax(dim=-1)
        assert output.weights is not None
        weights = mean_of_heads(output.weights, output.switch.dim() + 1).to(logits.dtype)
        copies = memory.copies if weights.dim() == 2 else memory.copies[:, None].expand_as(weights)
        size = size or max(logits.shape[-1], int(memory.copies.max()) + 1)
        return mixture(logits, output.switch.to(logits.dtype), weights, copies, size)

    def _advance(
        self,
        embedded: Float[Tensor, "batch embedding"],
        state: DecoderState,
        memory: Memory,
        shared: _LoopShares | None = None,
    ) -> _Advance:
        shared = shared or _NOTHING_SHARED
        timing = self.config.attention.timing if self.attention else None
        looked = _Looked(None, None, None)
        if timing == "previous":
            looked = self._look_once(state.rnn.hidden[:, -1], state, memory, shared)
        parts = [embedded.new_empty(len(embedded), 0) if shared.known else embedded]
        if looked.context is not None and self.config.attention.context == "rnn_input":
            parts.append(looked.context)
        if state.feed is not None:
            parts.append(state.feed)
        if self.config.attention.score == "peek":
            parts.append(memory.thought)
        top, rnn_state = self.rnn.step(torch.cat(parts, dim=-1), state.rnn, shared.rnn)
        if timing in ("mid", "current"):
            looked = self._look_once(top, state, memory, shared)
        context = looked.context
        if timing == "mid":
            assert context is not None
            second, rnn_state = self._second_transition(context, rnn_state, shared.second)
            top = top + second if self.config.decoder.residual else second
        combined = self._combine(top, context, memory.thought, shared.combine)
        feed = state.feed
        if feed is not None:
            feed = combined if self.config.attention.context == "attentional" else context
        features = self._for_readout(combined, embedded, context)
        position, past = state.position, state.past
        if position is not None:
            position = position + 1
        if past is not None:
            assert self.attention is not None and looked.weights is not None
            past = self.attention.next_past(past, looked.weights)
        after = DecoderState(rnn_state, feed, position, past)
        return _Advance(features, after, looked, self._switch(context, top, embedded))

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
        looked = _Looked(None, None, None)
        if self.attention is not None:
            query = states
            if self.config.attention.timing == "previous":
                query = torch.cat([state.rnn.hidden[:, -1:], states[:, :-1]], dim=1)
            position = torch.arange(query.shape[1], device=query.device)[None]
            looked = self._look(query, memory, position)
        context = looked.context
        combined = self._combine(states, context, thought)
        features = self._for_readout(combined, embedded, context)
        switch = self._switch(context, states, embedded)
        return DecoderOutput(features, looked.weights, switch, looked.feature_weights)

    def _switch(
        self,
        context: Float[Tensor, "*rows context"] | None,
        state: Float[Tensor, "*rows hidden"],
        embedded: Float[Tensor, "*rows embedding"],
    ) -> Float[Tensor, "*rows"] | None:
        """See et al. 2017, eq. 8, before the sigmoid; None where nothing can be copied."""
        if context is None or not self.config.attention.copy_tokens:
            return None
        return self.switch(torch.cat([context, state, embedded], dim=-1))[..., 0]

    def _look(
        self,
        query: Float[Tensor, "batch tgt_len hidden"],
        memory: Memory,
        position: Int[Tensor, "#batch tgt_len"] | None = None,
        past: Float[Tensor, "batch src_len kinds"] | None = None,
        shared: _LoopShares | None = None,
    ) -> _Looked:
        """Attend to the text and, where they are read apart, to the features."""
        assert self.attention is not None
        shared = shared or _NOTHING_SHARED
        context, weights = self.attention(query, memory, position, past, shared.attention)
        if memory.features is None:
            return _Looked(context, weights, None)
        beside, feature_weights = self.feature_attention(
            query, memory.features, shared=shared.features
        )
        return _Looked(torch.cat([context, beside], dim=-1), weights, feature_weights)

    def _look_once(
        self,
        query: Float[Tensor, "batch hidden"],
        state: DecoderState,
        memory: Memory,
        shared: _LoopShares,
    ) -> _Looked:
        """`_look` of one step."""
        position = None if state.position is None else state.position[:, None]
        looked = self._look(query[:, None], memory, position, state.past, shared)
        assert looked.context is not None and looked.weights is not None
        beside = looked.feature_weights
        return _Looked(
            looked.context[:, 0],
            looked.weights[..., 0, :],
            None if beside is None else beside[..., 0, :],
        )

    def _second_transition(
        self,
        context: Float[Tensor, "batch context"],
        state: RNNState,
        shared: Sequence[SharedCell] | None,
    ) -> tuple[Float[Tensor, "batch hidden"], RNNState]:
        """From the top layer's state between the transitions to the one after both."""
        below, between = state.split(-1)
        top, after = self.second_rnn.step(context, between, shared)
        return top, below.join(after)

    def _combine(
        self,
        state: Float[Tensor, "*rows hidden"],
        context: Float[Tensor, "*rows context"] | None,
        thought: Float[Tensor, "*rows memory"],
        shared: Shared | None = None,
    ) -> Float[Tensor, "*rows combined"]:
        """State and context as the attention's ``context`` axis says."""
        att = self.config.attention
        if att.score == "peek":
            return torch.cat([state, thought], dim=-1)
        if context is None or att.context == "rnn_input":
            return state
        joined = torch.cat([context, state], dim=-1)
        if att.context != "attentional":
            return joined
        return torch.tanh(self.combine(joined) if shared is None else shared(joined))

    def _for_readout(
        self,
        combined: Float[Tensor, "*rows combined"],
        embedded: Float[Tensor, "*rows embedding"],
        context: Float[Tensor, "*rows context"] | None,
    ) -> Float[Tensor, "*rows features"]:
        if self.config.decoder.readout == "linear":
            return combined
        parts = [combined, embedded]
        if context is not None and self.config.attention.context == "rnn_input":
            parts.append(context)
        return torch.cat(parts, dim=-1)


class _LoopShares(NamedTuple):
    """What the steps of a loop share. ``known``: the tokens' vectors are in the RNN's products."""

    known: bool
    rnn: Sequence[SharedCell] | None
    second: Sequence[SharedCell] | None
    combine: Shared | None
    attention: SharedMemory | None
    features: SharedMemory | None


_NOTHING_SHARED = _LoopShares(False, None, None, None, None, None)


class _Looked(NamedTuple):
    """What attention found; without attention, nothing."""

    context: Float[Tensor, "*rows context"] | None
    weights: Float[Tensor, "batch *rows src_len"] | None
    feature_weights: Float[Tensor, "batch *rows src_len"] | None


class _Advance(NamedTuple):
    """One step before the readout."""

    features: Float[Tensor, "batch features"]
    state: DecoderState
    looked: _Looked
    switch: Float[Tensor, "batch"] | None


def _stack(steps: Sequence[Tensor | None], dim: int) -> Tensor | None:
    """The steps side by side; None where they have nothing."""
    there = [step for step in steps if step is not None]
    return torch.stack(there, dim) if there else None


class _Sizes:
    """Sizes that follow from the axes, beside the code they must agree with."""

    def __init__(self, config: ModelConfig) -> None:
        dec, att = config.decoder, config.attention
        into_rnn = att.attends and att.context == "rnn_input"
        self.feed = 0
        if att.input_feeding:
            self.feed = dec.hidden if att.context == "attentional" else config.context
        self.rnn_input = dec.embedding + self.feed
        if att.score == "peek":
            self.rnn_input += config.encoder.memory
        if into_rnn and att.timing == "previous":
            self.rnn_input += config.context
        self.features = config.combined
        if dec.readout == "maxout":
            self.features += dec.embedding + config.context * into_rnn
