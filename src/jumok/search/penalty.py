"""What a hypothesis's log-probability is divided by, and what is added to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

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


@dataclass(frozen=True)
class PowerPenalty:
    """``((base + length) / (base + 1)) ** alpha``."""

    base: float
    alpha: float

    def __call__(self, length: np.ndarray) -> np.ndarray:
        """The divisor of each length."""
        number = self.base + np.asarray(length, np.float64)
        return np.asarray((number / (self.base + 1)) ** self.alpha)


def length_penalty(config: SearchConfig) -> PowerPenalty:
    """The penalty that ``config`` names; ``gnmt`` is Wu et al. 2016, eq. 14, with its base of 5."""
    if config.length_penalty == "none":
        return PowerPenalty(0.0, 0.0)
    return PowerPenalty(5.0 if config.length_penalty == "gnmt" else 0.0, config.length_alpha)


def coverage_penalty(beta: float, counted: Bool[np.ndarray, "batch src_len"]) -> CoveragePenalty:
    """``beta sum_i log(min(sum_t a[t, i], 1))`` over a source's positions: Wu et al. 2016, eq. 14.

    So an output is worse for what it never looked at. ``counted`` are the positions that attention
    can rest on.
    """

    def penalty(
        seen: Float[np.ndarray, "rows src_len"], source: Int[np.ndarray, "rows"]
    ) -> Float[np.ndarray, "rows"]:
        logs = np.log(np.clip(seen, _UNSEEN, 1.0, dtype=np.float64))
        return beta * np.where(counted[source], logs, 0.0).sum(axis=1)

    return penalty
