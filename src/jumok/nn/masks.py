"""The one mask rule: bool, ``True`` = real token. Here attention gets its masks and fill values."""

from __future__ import annotations

import torch
from entmax import entmax15, sparsemax
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jumok.config import Normaliser
from jumok.nn.arithmetic import at_least_float32


def length_mask(lengths: Int[Tensor, "batch"], size: int) -> Bool[Tensor, "batch {size}"]:
    """``mask[b, i]`` is True where position ``i`` of row ``b`` is a real token."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def places(mask: Bool[Tensor, "batch length"]) -> Int[Tensor, "batch length"]:
    """Each real token's number among the real ones, from 1."""
    return mask.cumsum(dim=1)


def feature_masks(
    source: Int[Tensor, "batch length"], mask: Bool[Tensor, "batch length"], text_vocab: int
) -> tuple[Bool[Tensor, "batch length"], Bool[Tensor, "batch length"]]:
    """Which real tokens are text, and which are features: ids from ``text_vocab`` on."""
    features = mask & (source >= text_vocab)
    return mask & ~features, features


def zero_elsewhere(
    values: Float[Tensor, "batch length size"], mask: Bool[Tensor, "batch length"]
) -> Float[Tensor, "batch length size"]:
    """The values where ``mask`` is True, and zeros."""
    return values.masked_fill(~mask[:, :, None], 0.0)


def padding_flag(
    mask: Bool[Tensor, "batch length"], like: Float[Tensor, "batch length size"]
) -> Float[Tensor, "batch length 1"]:
    """1 at padding and 0 at real tokens, in the type of ``like``."""
    return (~mask)[:, :, None].to(like.dtype)


def impossible_elsewhere(
    logits: Float[Tensor, "*#batch tokens"], allowed: Bool[Tensor, "*batch tokens"]
) -> Float[Tensor, "*batch tokens"]:
    """The logits where ``allowed`` is True, and those of no probability elsewhere."""
    return logits.masked_fill(~allowed, -torch.inf)


def window_mask(
    distance: Float[Tensor, "*rows src_len"], window: int
) -> Bool[Tensor, "*rows src_len"]:
    """True within ``window`` of the centre, [p_t - D, p_t + D]: Luong et al. 2015, 3.2."""
    return distance.abs() <= window


def masked_mean(
    values: Float[Tensor, "batch length size"], mask: Bool[Tensor, "batch length"]
) -> Float[Tensor, "batch size"]:
    """Mean over the positions where ``mask`` is True; zeros where there is none."""
    return zero_elsewhere(values, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp_min(1)


def masked_normalise(
    scores: Float[Tensor, "*batch tgt_len src_len"],
    mask: Bool[Tensor, "*#batch #tgt_len src_len"],
    normaliser: Normaliser = "softmax",
) -> Float[Tensor, "*batch tgt_len src_len"]:
    """Weights over the positions of the last axis where ``mask`` is True; exactly 0 elsewhere.

    ``softmax``; or ``sparsemax`` (Martins & Astudillo 2016, eq. 2: the nearest point of the
    simplex, a_i = max(e_i - t, 0)) and ``entmax15`` (Peters et al. 2019, eq. 10 with alpha 1.5:
    a_i = max(e_i / 2 - t, 0)^2), with the t for which the sum is 1; they give low scores exactly
    nothing. A row without any True position gives zeros, never NaN.
    """
    given, scores, elsewhere = scores.dtype, at_least_float32(scores), ~mask
    lowest = scores.masked_fill(elsewhere, torch.finfo(scores.dtype).min)
    if normaliser == "softmax":
        weights = torch.softmax(lowest, dim=-1)
    else:
        # what is 1 (sparsemax) or 2 (entmax15) below the highest has no weight; further down, a
        # large number would only cost precision
        below = (scores - lowest.detach().amax(dim=-1, keepdim=True)).clamp_min(-4.0)
        sparse = sparsemax if normaliser == "sparsemax" else entmax15
        weights = sparse(below.masked_fill(elsewhere, -4.0), dim=-1)
    # a fully masked row came out uniform
    return weights.masked_fill(elsewhere, 0.0).to(given)
