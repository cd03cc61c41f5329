"""Length penalties: what a hypothesis's log-probability is divided by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jumok.config import SearchConfig

LengthPenalty = Callable[[np.ndarray], np.ndarray]
"""From lengths (EOS counted) to divisors; never falls with the length."""


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
