"""What a hypothesis's log-probability is divided by, and what is added to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from jumok.config import SearchConfig

LengthPenalty = Callable[[np.ndarray], np.ndarray]
"""From lengths (EOS counted) to divisors; never falls with the length."""

CoveragePenalty = Callable[
    [Float[np.ndarray, "rows src_len"], Int[np.ndarray, "rows"]], Float[np.ndarray, "rows"]
]
"""From the summed attention to each source position, and the number of the source, to what is added
to a score: at most 0."""

_UNSEEN = 1e-9
"""Stands for no attention at all, which sparse weights can have: its logarithm is finite."""


def length_penalty(config: SearchConfig) -> LengthPenalty:
    """The penalty that ``config`` names.

    ``gnmt`` is Wu et al. 2016, eq. 14: ``((5 + length) / (5 + 1)) ** alpha``.
    """
    alpha = config.length_alpha
    if config.length_penalty == "gnmt":
        return lambda length: ((5.0 + length) / 6.0) ** alpha
    if config.length_penalty == "average":
        return lambda length: np.asarray(length, dtype=np.float64) ** alpha
    return lambda length: np.ones_like(length, dtype=np.float64)


def coverage_penalty(beta: float, lengths: Int[np.ndarray, "batch"]) -> CoveragePenalty:
    """``beta sum_i log(min(sum_t a[t, i], 1))`` over a source's positions: Wu et al. 2016, eq. 14.

    So an output is worse for what it never looked at. ``lengths`` are those of the sources.
    """

    def penalty(
        seen: Float[np.ndarray, "rows src_len"], source: Int[np.ndarray, "rows"]
    ) -> Float[np.ndarray, "rows"]:
        real = np.arange(seen.shape[1]) < lengths[source, None]
        logs = np.log(np.clip(seen, _UNSEEN, 1.0, dtype=np.float64))
        return beta * np.where(real, logs, 0.0).sum(axis=1)

    return penalty
