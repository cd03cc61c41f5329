"""The training objective: cross-entropy over real target tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jumok.nn import Seq2Seq


def sequence_loss(
    model: Seq2Seq,
    features: Float[Tensor, "batch tgt_len features"],
    target_out: Int[Tensor, "batch tgt_len"],
    mask: Bool[Tensor, "batch tgt_len"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean over real tokens of ``-(1-e) log p(y) - e/V sum_v log p(v)``.

    Label smoothing e: Szegedy et al. 2016, section 7. Padding is left out before the readout, so
    logits exist for real tokens only.
    """
    logits = model.decoder.logits(features[mask])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # bfloat16 is too coarse
    return torch.nn.functional.cross_entropy(
        logits, target_out[mask], label_smoothing=label_smoothing
    )


def coverage_loss(
    weights: Float[Tensor, "batch *heads tgt_len src_len"], mask: Bool[Tensor, "batch tgt_len"]
) -> Float[Tensor, ""]:
    """Mean over real tokens t of ``sum_i min(a_t[i], c_t[i])``, c_t the weights before t summed.

    See et al. 2017, eq. 12. With heads, of the heads' mean.
    """
    mean = weights.mean(dim=1) if weights.dim() == 4 else weights
    before = mean.cumsum(dim=1) - mean
    return torch.minimum(mean, before).sum(dim=-1)[mask].mean()
