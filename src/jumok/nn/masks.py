"""The one mask rule: bool, ``True`` = real token. Only this file makes masks and fill values."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def length_mask(lengths: Int[Tensor, "batch"], size: int) -> Bool[Tensor, "batch {size}"]:
    """``mask[b, i]`` is True where position ``i`` of row ``b`` is a real token."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def masked_softmax(
    scores: Float[Tensor, "batch tgt_len src_len"], mask: Bool[Tensor, "batch src_len"]
) -> Float[Tensor, "batch tgt_len src_len"]:
    """Softmax over the real positions of the last axis; exactly 0 elsewhere.

    A row without any real position gives zeros, never NaN.
    """
    real = mask[:, None, :]
    lowest = torch.finfo(scores.dtype).min
    weights = torch.softmax(scores.masked_fill(~real, lowest), dim=-1)
    return weights.masked_fill(~real, 0.0)  # a fully masked row came out uniform
