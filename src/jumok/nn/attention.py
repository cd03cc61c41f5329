"""Attention: scores of queries against keys, weights by softmax, contexts as weighted sums.

    scores[t, i]  = score(query[t], key[i])
    weights[t, :] = softmax(scores[t, :])            over the real source positions
    context[t]    = sum_i weights[t, i] value[i]     (Bahdanau et al. 2015, eq. 5-6)

Everything takes a whole (batch, tgt_len) of queries; one decoding step is tgt_len = 1.
Pure functions do the arithmetic; the module below owns the weights and calls them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from jumok.config import AttentionConfig
from jumok.nn.masks import masked_softmax
from jumok.nn.memory import Memory


class AttentionOutput(NamedTuple):
    """Contexts and the weights they were made with."""

    context: Float[Tensor, "batch tgt_len memory"]
    weights: Float[Tensor, "batch tgt_len src_len"]


def dot_score(
    query: Float[Tensor, "batch tgt_len key"], keys: Float[Tensor, "batch src_len key"]
) -> Float[Tensor, "batch tgt_len src_len"]:
    """``score = q . k``: Luong et al. 2015, section 3.1 ("dot").

    With ``keys = W_a values`` it is their "general" score ``q^T W_a h``.
    """
    return query @ keys.transpose(1, 2)


def scaled_dot_score(
    query: Float[Tensor, "batch tgt_len key"], keys: Float[Tensor, "batch src_len key"]
) -> Float[Tensor, "batch tgt_len src_len"]:
    """``score = q . k / sqrt(size of k)``: Vaswani et al. 2017, eq. 1."""
    return dot_score(query / math.sqrt(keys.shape[-1]), keys)


def additive_score(
    query: Float[Tensor, "batch tgt_len key"],
    keys: Float[Tensor, "batch src_len key"],
    v: Float[Tensor, "key"],
) -> Float[Tensor, "batch tgt_len src_len"]:
    """``score = v^T tanh(query + key)``, with both already projected.

    With ``query = W_a s`` and ``keys = U_a h`` this is Bahdanau et al. 2015, A.1.2. It is also
    Luong et al. 2015, section 3.1 ("concat"), ``v^T tanh(W_a [s; h])``, whose one matrix is the
    two side by side: ``W_a [s; h] = W_s s + W_h h``. Memory: batch x tgt_len x src_len x key.
    """
    return torch.tanh(query[:, :, None, :] + keys[:, None, :, :]) @ v


def attend(
    scores: Float[Tensor, "batch tgt_len src_len"],
    values: Float[Tensor, "batch src_len memory"],
    mask: Bool[Tensor, "batch src_len"],
) -> AttentionOutput:
    """Weights and contexts from scores: Bahdanau et al. 2015, eq. 5-6.

    A row without real source positions gets zero weights and a zero context.
    """
    weights = masked_softmax(scores, mask)
    return AttentionOutput(weights @ values, weights)


class Attention(nn.Module):
    """One score function with its weights.

    ``keys(values)`` is computed once per source and travels in `Memory`; ``forward`` answers
    queries. Neither keeps anything on the module.

    Args:
        config: the attention's axes; ``config.score`` must not be none or peek.
        query_size: size of a decoder state.
        memory_size: size of an encoder state.
    """

    def __init__(self, config: AttentionConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.score = config.score
        if config.score == "general":
            self.key_projection = nn.Linear(memory_size, query_size, bias=False)
        elif config.score in ("additive", "concat"):
            self.key_projection = nn.Linear(memory_size, config.hidden, bias=False)
            self.query_projection = nn.Linear(query_size, config.hidden, bias=False)
            self.v = nn.Parameter(torch.empty(config.hidden).uniform_(-0.1, 0.1))

    def keys(
        self, values: Float[Tensor, "batch src_len memory"]
    ) -> Float[Tensor, "batch src_len key"]:
        """The encoder's states as this score wants them."""
        return values if self.score in ("dot", "scaled_dot") else self.key_projection(values)

    def forward(
        self, query: Float[Tensor, "batch tgt_len query"], memory: Memory
    ) -> AttentionOutput:
        """Attend to ``memory`` with each query."""
        assert memory.keys is not None, "memory was made without attention"
        return attend(self._scores(query, memory.keys), memory.values, memory.mask)

    def _scores(
        self,
        query: Float[Tensor, "batch tgt_len query"],
        keys: Float[Tensor, "batch src_len key"],
    ) -> Float[Tensor, "batch tgt_len src_len"]:
        if self.score in ("dot", "general"):
            return dot_score(query, keys)
        if self.score == "scaled_dot":
            return scaled_dot_score(query, keys)
        return additive_score(self.query_projection(query), keys, self.v)
