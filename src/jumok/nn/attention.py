"""Attention: scores of queries against keys, weights over positions, contexts as weighted sums.

    scores[t, i]  = score(query[t], key[i])
    weights[t, :] = normaliser(scores[t, :])         over the real source positions in scope
    context[t]    = sum_i weights[t, i] value[i]     (Bahdanau et al. 2015, eq. 5-6)

Everything takes a whole (batch, tgt_len) of queries; one decoding step is tgt_len = 1.
Pure functions do the arithmetic; the module below owns the weights and calls them.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from jumok.config import AttentionConfig, Normaliser
from jumok.nn.additive import additive_score
from jumok.nn.arithmetic import at_least_float32, type_of_products
from jumok.nn.masks import masked_normalise, places
from jumok.nn.memory import FeatureMemory, Memory
from jumok.nn.scope import LocalScope
from jumok.nn.shared import Shared

PRODUCTS = ("dot", "general", "scaled_dot")
"""The scores that are products of query and key."""


class AttentionOutput(NamedTuple):
    """Contexts and the weights they were made with; an axis of heads only where there are some."""

    context: Float[Tensor, "batch tgt_len memory"]
    weights: Float[Tensor, "batch *heads tgt_len src_len"]


class SharedMemory(NamedTuple):
    """Keys (turned, for a product), values and W_a, for the steps of a loop that learns.

    ``keys`` is None where the score is no product with the same keys at every step, and
    ``projection`` where it does not project queries.
    """

    keys: Shared | None
    values: Shared
    projection: Shared | None


def dot_score(
    query: Float[Tensor, "*batch tgt_len key"],
    keys: Float[Tensor, "*batch src_len key"] | Shared,
) -> Float[Tensor, "*batch tgt_len src_len"]:
    """``score = q . k``: Luong et al. 2015, section 3.1 ("dot").

    With ``keys = W_a values`` it is their "general" score ``q^T W_a h``.
    """
    return keys(query) if isinstance(keys, Shared) else query @ keys.transpose(-1, -2)


def scaled_dot_score(
    query: Float[Tensor, "*batch tgt_len key"],
    keys: Float[Tensor, "*batch src_len key"] | Shared,
) -> Float[Tensor, "*batch tgt_len src_len"]:
    """``score = q . k / sqrt(size of k)``: Vaswani et al. 2017, eq. 1."""
    return dot_score(query / math.sqrt(query.shape[-1]), keys)


def attend(
    scores: Float[Tensor, "*batch tgt_len src_len"],
    values: Float[Tensor, "*batch src_len value"] | Shared,
    mask: Bool[Tensor, "*#batch #tgt_len src_len"],
    normaliser: Normaliser = "softmax",
    gaussian: Float[Tensor, "*#batch tgt_len src_len"] | None = None,
) -> tuple[Float[Tensor, "*batch tgt_len value"], Float[Tensor, "*batch tgt_len src_len"]]:
    """Contexts and weights from scores: Bahdanau et al. 2015, eq. 5-6.

    ``gaussian`` is that of `LocalScope`. A row without real source positions gets zero weights and
    a zero context.
    """
    weights = masked_normalise(scores, mask, normaliser)
    if gaussian is not None:
        weights = _rescale(weights * gaussian).to(scores.dtype)
    context = values(weights) if isinstance(values, Shared) else weights @ values
    return context, weights


def mean_of_heads(
    weights: Float[Tensor, "batch *heads src_len"], axes: int
) -> Float[Tensor, "batch *rows src_len"]:
    """``weights`` with ``axes`` axes: where there is one more, it is that of the heads."""
    return weights.mean(dim=1) if weights.dim() > axes else weights


class Attention(nn.Module):
    """One score function with its weights, its scope and its normaliser.

    ``keys(values)`` and ``values(values)`` are computed once per source and travel in `Memory`;
    ``forward`` answers queries. Nothing is kept on the module.

    **Heads** (Vaswani et al. 2017, 3.2.2): queries, keys, values and v are cut into ``heads`` equal
    shares, each share attends by itself, and the contexts stand side by side. ``general``,
    ``concat`` and ``additive`` project the values first (W^V); ``dot`` has no weights here either.
    Their W^O is the layer that reads the context (W_c, the RNN's input or the readout). Differs:
    they scale the dot product, which is the score `scaled_dot`.

    **Past weights.** In the key's place the score sees ``key[i] + U f[i]``. With coverage (See et
    al. 2017, eq. 10-11) f[i] is c[i], the sum of the weights that position i has had in all steps
    before, and U is their w_c. With ``location_width`` r ("location-aware", Chorowski et al. 2015,
    eq. 8-9) f[i] is the weights of the step before at the r positions around i, zeros beyond the
    source; U stands for their U F, a projection of k filters, without the bound of k on its rank.
    With both, f[i] is c and these weights at the r positions (Shen et al. 2018, section 2.2, give
    the features such sums). For ``additive`` this is See's ``v^T tanh(W_h h_i + W_s s_t + w_c c[i]
    + b)`` and Chorowski's ``w^T tanh(W s_{i-1} + V h_j + U f_ij + b)``. Differs: without the bias
    b, as in Bahdanau et al.; and for products we add what they do not define, ``q . key[i] +
    q . U f[i]``. With heads, the weights are the heads' mean.

    **location** (Luong et al. 2015, eq. 8): ``weights = softmax(W_a s)``. Like them we use the
    first src_len scores for a short source, and for a long one see only as many positions as W_a
    has rows; a local scope then takes that for the source's length. Positions, here and in scopes,
    are counted as the encoder reads: from the end where the source is reversed, features that are
    tokens too.

    Args:
        config: the attention's axes; ``config.score`` must not be none or peek.
        query_size: size of a decoder state.
        memory_size: size of an encoder state.
    """

    def __init__(self, config: AttentionConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.config = config
        self.fast = True
        score = config.score
        key_size = memory_size
        if score == "general":
            key_size = query_size
            self.key_projection = nn.Linear(memory_size, key_size, bias=False)
        elif score in ("additive", "concat"):
            key_size = config.hidden
            self.key_projection = nn.Linear(memory_size, key_size, bias=False)
            self.query_projection = nn.Linear(query_size, key_size, bias=False)
            self.v = _small(key_size)
        elif score == "location":
            self.location_projection = nn.Linear(query_size, config.positions, bias=False)
        self.past_kinds = config.coverage + bool(config.location_width)
        if self.past_kinds:
            near = self.past_kinds * (config.location_width or 1)
            self.past_projection = nn.Linear(near, key_size, bias=False)
        if config.heads > 1 and score not in ("dot", "scaled_dot"):
            self.value_projection = nn.Linear(memory_size, memory_size, bias=False)
        self.scope = None if config.scope == "global" else LocalScope(config, query_size)

    def keys(
        self, states: Float[Tensor, "batch src_len memory"]
    ) -> Float[Tensor, "batch src_len key"]:
        """The encoder's states as this score wants them."""
        return self.key_projection(states) if hasattr(self, "key_projection") else states

    def values(
        self, states: Float[Tensor, "batch src_len memory"]
    ) -> Float[Tensor, "batch src_len memory"]:
        """The encoder's states as the heads read them; without heads, as they are."""
        return self.value_projection(states) if hasattr(self, "value_projection") else states

    def share(self, memory: Memory | FeatureMemory, steps: int) -> SharedMemory:
        """``memory`` for a loop of ``steps`` queries."""
        assert memory.keys is not None, "memory was made without attention"
        keys, values, projection = memory.keys, memory.values, None
        if hasattr(self, "query_projection"):
            projection = _for_queries(self.query_projection.weight.t(), steps, len(keys))
        if self.config.heads > 1:
            keys, values = self._cut(keys), self._cut(values)
        product = self.config.score in PRODUCTS and not self.past_kinds
        return SharedMemory(
            _for_queries(keys.transpose(-1, -2), steps) if product else None,
            _for_queries(values, steps),
            projection,
        )

    def forward(
        self,
        query: Float[Tensor, "batch tgt_len query"],
        memory: Memory | FeatureMemory,
        position: Int[Tensor, "#batch tgt_len"] | None = None,
        past: Float[Tensor, "batch src_len kinds"] | None = None,
        shared: SharedMemory | None = None,
    ) -> AttentionOutput:
        """Attend to ``memory`` with each query.

        ``position`` counts target steps from 0, for scope `local_m`. ``past`` is that of
        `first_past` and `next_past`; with it, tgt_len is 1. With ``shared``, that of `share` for
        this memory, tgt_len is 1 and the next step's query is answered.
        """
        assert memory.keys is not None, "memory was made without attention"
        keys, values, mask = memory.keys, memory.values, memory.mask[:, None, :]
        if past is not None:
            around = _around(past, self.config.location_width or 1)
            keys = keys + self.past_projection(around.to(self.past_projection.weight.dtype))
        if self.config.score == "location":
            scores, known = self._location_scores(query, memory.mask)
            mask = mask & known
        else:
            scores = self._scores(query, keys, shared)
        gaussian = None
        if self.scope is not None:
            near, gaussian = self.scope(query, mask[:, 0], position)
            mask = mask & near
        if self.config.heads > 1:
            mask, values = mask[:, None], values if shared else self._cut(values)
            gaussian = None if gaussian is None else gaussian[:, None]
        read = shared.values if shared else values
        context, weights = attend(scores, read, mask, self.config.normaliser, gaussian)
        if self.config.heads > 1:
            context = context.transpose(1, 2).flatten(2)
        return AttentionOutput(context, weights)

    def first_past(
        self, states: Float[Tensor, "batch src_len memory"]
    ) -> Float[Tensor, "batch src_len kinds"] | None:
        """What the score sees of past weights before the first step: zeros, or None if nothing.

        See et al. begin with zeros too; Chorowski et al. leave it open.
        """
        if not self.past_kinds:
            return None
        return at_least_float32(states.new_zeros(*states.shape[:2], self.past_kinds))

    def next_past(
        self,
        past: Float[Tensor, "batch src_len kinds"],
        weights: Float[Tensor, "batch *heads src_len"],
    ) -> Float[Tensor, "batch src_len kinds"]:
        """``past`` after a step that attended with ``weights``: their sum so far, and the last."""
        last = mean_of_heads(weights, 2)[:, :, None].to(past.dtype)
        if not self.config.coverage:
            return last
        total = past[:, :, :1] + last
        return torch.cat([total, last], dim=2) if self.config.location_width else total

    def _scores(
        self,
        query: Float[Tensor, "batch tgt_len query"],
        keys: Float[Tensor, "batch src_len key"],
        shared: SharedMemory | None = None,
    ) -> Float[Tensor, "batch *heads tgt_len src_len"]:
        score, v = self.config.score, cast(Tensor | None, None)
        if score in ("additive", "concat"):
            if shared is None:
                query = self.query_projection(query)
            else:
                assert shared.projection is not None
                query = shared.projection(query[:, 0])[:, None]
            v = self.v
        if self.config.heads > 1:
            query, keys = self._cut(query), self._cut(keys)
            v = None if v is None else v.view(self.config.heads, -1)
        if v is not None:
            return additive_score(query, keys, v, self.fast)
        product = scaled_dot_score if score == "scaled_dot" else dot_score
        return product(query, (shared and shared.keys) or keys)

    def _location_scores(
        self, query: Float[Tensor, "batch tgt_len query"], mask: Bool[Tensor, "batch src_len"]
    ) -> tuple[Float[Tensor, "batch tgt_len src_len"], Bool[Tensor, "batch 1 src_len"]]:
        """Scores of all positions, and which of them W_a has rows for."""
        place = places(mask)[:, None] - 1
        scores = self.location_projection(query)
        row = place.clamp(0, self.config.positions - 1).expand(-1, query.shape[1], -1)
        return scores.gather(2, row), place < self.config.positions

    def _cut(
        self, whole: Float[Tensor, "batch length size"]
    ) -> Float[Tensor, "batch heads length share"]:
        batch, length, _ = whole.shape
        return whole.view(batch, length, self.config.heads, -1).transpose(1, 2)


def _for_queries(
    matrix: Float[Tensor, "*batch inner columns"], steps: int, rows: int = 1
) -> Shared:
    """For so many rows a step, and nothing to be added."""
    zero = matrix.new_zeros((), dtype=type_of_products(matrix))  # else autocast would write it out
    zeros = zero.expand(steps, *matrix.shape[:-2], rows, matrix.shape[-1])
    return Shared(matrix, zeros, adds=False)


def _around(
    past: Float[Tensor, "batch src_len kinds"], width: int
) -> Float[Tensor, "batch src_len near"]:
    """For each position, what the ``width`` positions around it have, zeros beyond the source."""
    if width == 1:
        return past
    padded = nn.functional.pad(past, (0, 0, width // 2, width // 2))
    return padded.unfold(1, width, 1).flatten(2)


def _small(size: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(size).uniform_(-0.1, 0.1))


def _rescale(
    weights: Float[Tensor, "*batch tgt_len src_len"],
) -> Float[Tensor, "*batch tgt_len src_len"]:
    """Rows that sum to 1; a row of zeros stays."""
    total = weights.sum(dim=-1, keepdim=True)
    return weights / torch.where(total > 0, total, 1.0)
