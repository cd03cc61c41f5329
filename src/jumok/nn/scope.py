"""Local attention: Luong et al. 2015, section 3.2. Where in the source a query may look.

    local_m  p_t = t                                     the step's own number
    local_p  p_t = S sigmoid(v_p^T tanh(W_p s_t))        eq. 9, S the length of the source
             a_t(i) = align(s_t, h_i) exp(-(i - p_t)^2 / (2 sigma^2)),  sigma = D / 2     eq. 10

Both look at the positions i in [p_t - D, p_t + D] alone; t and i count from 1.

Differs: in local_m a step beyond the end of the source looks at its end, p_t = min(t, S), where the
paper's window would be empty. In local_p the weights of eq. 10 are divided by their sum, so that
the rows of every attention sum to 1; the paper leaves them smaller.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from jumok.config import AttentionConfig
from jumok.nn.arithmetic import at_least_float32
from jumok.nn.masks import places, window_mask


class LocalScope(nn.Module):
    """The window around a centre and, for `local_p`, the Gaussian over it."""

    def __init__(self, config: AttentionConfig, query_size: int) -> None:
        super().__init__()
        self.window = config.window
        self.predicts = config.scope == "local_p"
        if self.predicts:
            self.centre_projection = nn.Linear(query_size, query_size, bias=False)
            self.v = nn.Parameter(torch.empty(query_size).uniform_(-0.1, 0.1))

    def forward(
        self,
        query: Float[Tensor, "batch tgt_len query"],
        mask: Bool[Tensor, "batch src_len"],
        position: Int[Tensor, "#batch tgt_len"] | None,
    ) -> tuple[
        Bool[Tensor, "batch tgt_len src_len"], Float[Tensor, "batch tgt_len src_len"] | None
    ]:
        """Which positions are in the window and, for `local_p`, the Gaussian of each."""
        lengths = mask.sum(dim=1)[:, None]
        if self.predicts:
            inner = torch.tanh(self.centre_projection(query)) @ self.v
            centre = lengths * torch.sigmoid(at_least_float32(inner))
        else:
            assert position is not None, "local_m needs the number of the step"
            centre = torch.minimum(position + 1, lengths).to(
                at_least_float32(query).dtype  # bfloat16 cannot count beyond 256
            )
        distance = places(mask)[:, None] - centre[:, :, None]
        near = window_mask(distance, self.window)
        if not self.predicts:
            return near, None
        sigma = self.window / 2
        return near, torch.exp(-(distance**2) / (2 * sigma**2))
