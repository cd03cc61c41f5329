"""Copying: the pointer-generator of See et al. 2017, section 2.2.

    p_gen = sigmoid(w_c^T c_t + w_s^T s_t + w_x^T x_t + b)                       eq. 8
    P(w)  = p_gen P_vocab(w) + (1 - p_gen) sum_{i: w_i = w} a_t[i]               eq. 9

with c_t the context, s_t the state, x_t the embedding of the token before and a_t the attention
weights (with heads, their mean). The vocabulary is extended, for each source by itself, with the
tokens of the source that it lacks: ``Memory.copies`` says for every source position which token of
the extended vocabulary it would be copied as. What is computed here are logarithms; ``switch`` is
the argument of the sigmoid.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, pad


def mixture(
    logits: Float[Tensor, "*rows vocab"],
    switch: Float[Tensor, "*rows"],
    weights: Float[Tensor, "*rows src_len"],
    copies: Int[Tensor, "*rows src_len"],
    size: int,
) -> Float[Tensor, "*rows {size}"]:
    """log P(w) for all ``size`` tokens of the extended vocabulary: eq. 9.

    Values alone: where a token has no probability the gradient is no number. What learns is
    `target_log_prob`.
    """
    generated = logits.log_softmax(dim=-1) + logsigmoid(switch)[..., None]
    generated = pad(generated, (0, size - logits.shape[-1]), value=-torch.inf)
    copied = torch.zeros_like(generated).scatter_add(-1, copies, weights)
    return torch.logaddexp(generated, copied.log() + logsigmoid(-switch)[..., None])


def target_log_prob(
    log_vocab: Float[Tensor, "rows vocab"],
    switch: Float[Tensor, "rows"],
    weights: Float[Tensor, "rows src_len"],
    copies: Int[Tensor, "rows src_len"],
    target: Int[Tensor, "rows"],
    unknown: int,
) -> Float[Tensor, "rows"]:
    """log P(target) alone, which is all that training needs; ``log_vocab`` is log P_vocab.

    A target beyond the vocabulary on which no attention rests, as a window or a sparse normaliser
    may have it, has no probability at all; it is scored as the token ``unknown``. A subnormal
    share counts as none: its logarithm has an infinite gradient.
    """
    share = (weights * (copies == target[:, None])).sum(dim=-1)
    there = share >= torch.finfo(share.dtype).smallest_normal
    beyond = target >= log_vocab.shape[-1]
    lowest = torch.finfo(log_vocab.dtype).min / 2  # finite: 0 x infinity has no gradient
    generated = log_vocab.gather(-1, target.masked_fill(beyond, unknown)[:, None])[:, 0]
    generated = generated.masked_fill(beyond & there, lowest)
    copied = torch.where(there, share, 1.0).log().masked_fill(~there, lowest)
    return torch.logaddexp(generated + logsigmoid(switch), copied + logsigmoid(-switch))
