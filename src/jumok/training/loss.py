"""The training objective: cross-entropy over real target tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jumok.nn import DecoderOutput, Memory, Seq2Seq
from jumok.nn.arithmetic import at_least_float32
from jumok.nn.attention import mean_of_heads
from jumok.nn.copying import target_log_prob
from jumok.nn.cross_entropy import LEFT_OUT, linear_cross_entropy
from jumok.nn.decoder import Decoder
from jumok.text import BOS, PAD, UNK


def sequence_loss(
    model: Seq2Seq,
    output: DecoderOutput,
    target_out: Int[Tensor, "batch tgt_len"],
    mask: Bool[Tensor, "batch tgt_len"],
    label_smoothing: float = 0.0,
    copies: Int[Tensor, "batch src_len"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over real tokens of ``-(1-e) log p(y) - e/V sum_v log p(v)``.

    Label smoothing e: Szegedy et al. 2016, section 7. Where source tokens can be copied, p(y) is
    the pointer-generator's mixture (See et al. 2017, eq. 9) and the sum over v that of its
    vocabulary distribution alone. Padding is left out before the readout, so logits exist for real
    tokens only; never all at once, but where source tokens can be copied. On a GPU, which would
    have to be waited for to say how many real tokens there are, fast roads leave it out behind it.
    """
    decoder = model.decoder
    everywhere = _leaves_out_behind(decoder, mask)

    def rows(values: Tensor) -> Tensor:
        return values.flatten(0, 1) if everywhere else values[mask]

    features, targets, real = rows(output.features), rows(target_out), rows(mask)
    if output.switch is None or copies is None:
        if everywhere:
            targets = targets.masked_fill(~real, LEFT_OUT)
        return linear_cross_entropy(
            *decoder.last_map(features), targets, label_smoothing, decoder.fast
        )
    logits = at_least_float32(decoder.logits(features))
    assert output.weights is not None
    log_vocab = logits.log_softmax(dim=-1)
    weights = mean_of_heads(output.weights, 3).to(logits.dtype)
    log_prob = target_log_prob(
        log_vocab,
        rows(output.switch).to(logits.dtype),
        rows(weights),
        rows(copies[:, None].expand_as(weights)),
        targets,
        UNK,
    )
    likelihood = (1 - label_smoothing) * log_prob
    return -_mean(likelihood + label_smoothing * log_vocab.mean(dim=-1), real)


def _leaves_out_behind(decoder: Decoder, mask: Tensor) -> bool:
    return decoder.fast and mask.is_cuda


def forced_tokens(
    model: Seq2Seq,
    output: DecoderOutput,
    memory: Memory,
) -> Int[Tensor, "batch tgt_len"]:
    """The most probable token at each position, after the given ones before it: one that a search
    may write, so never an unknown one.

    One position after the other, so that the logits of all never exist at once.
    """
    found = []
    for t in range(output.features.shape[1]):
        here = slice(t, t + 1)
        step = DecoderOutput(
            output.features[:, here],
            None if output.weights is None else output.weights[..., here, :],
            None if output.switch is None else output.switch[:, here],
        )
        log_probs = model.decoder.log_probs(step, memory)
        log_probs[..., [PAD, BOS, UNK]] = -torch.inf
        found.append(log_probs.argmax(dim=-1))
    return torch.cat(found, dim=1)


def coverage_loss(
    weights: Float[Tensor, "batch *heads tgt_len src_len"], mask: Bool[Tensor, "batch tgt_len"]
) -> Float[Tensor, ""]:
    """Mean over real tokens t of ``sum_i min(a_t[i], c_t[i])``, c_t the weights before t summed.

    See et al. 2017, eq. 12. Sums are in float32 at least; with heads, the weights are their mean.
    """
    weights = mean_of_heads(at_least_float32(weights), 3)
    before = weights.cumsum(dim=1) - weights
    return _mean(torch.minimum(weights, before).sum(dim=-1), mask)


def _mean(values: Float[Tensor, "*rows"], mask: Bool[Tensor, "*rows"]) -> Float[Tensor, ""]:
    """Of the values where ``mask`` is True."""
    return values.masked_fill(~mask, 0.0).sum() / mask.sum()
