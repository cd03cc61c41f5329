"""The one input of every renderer: tokens, weights, and what is known of the output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jumok.explain.labels import labels


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """Where the decoder looked while it wrote each target token.

    ``weights[i, j]`` is the share of attention on source token j when target token i was written:
    a row sums to 1, or to 0 where there was no attention.

    Raises `ValueError` where the shapes do not fit, or a weight is not a number from 0 to 1.
    """

    source_tokens: Sequence[str]
    """The tokens read."""
    target_tokens: Sequence[str]
    """The tokens written."""
    weights: Float[np.ndarray, "tgt_len src_len"]
    """Attention weights; float64 once stored."""
    source_text: str = ""
    """The source as it was given."""
    target_text: str = ""
    """The output as it is shown."""
    token_log_probs: Sequence[float] | None = None
    """Natural log-probability of each target token."""
    score: float | None = None
    """Score of the whole output."""

    def __post_init__(self) -> None:
        weights = np.array(self.weights, dtype=np.float64)  # a copy: the caller may go on writing
        if weights.size == 0 and not (self.target_tokens and self.source_tokens):
            weights = weights.reshape(len(self.target_tokens), len(self.source_tokens))
        weights.flags.writeable = False
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "source_tokens", tuple(self.source_tokens))
        object.__setattr__(self, "target_tokens", tuple(self.target_tokens))
        self._check()

    def _check(self) -> None:
        expected = (len(self.target_tokens), len(self.source_tokens))
        if self.weights.shape != expected:
            raise ValueError(
                f"weights must have one row per target token and one column per source token, "
                f"shape {expected}, but shape {self.weights.shape} came"
            )
        # written so that NaN fails; a float32 softmax may exceed 1 by a rounding error
        if not ((self.weights >= 0) & (self.weights <= 1 + 1e-4)).all():
            raise ValueError("weights must be numbers from 0 to 1")
        if self.token_log_probs is not None and len(self.token_log_probs) != expected[0]:
            raise ValueError(
                f"token_log_probs must have one number per target token, {expected[0]}, but "
                f"{len(self.token_log_probs)} came"
            )

    @property
    def source_labels(self) -> list[str]:
        """Source tokens as they are shown: visible, harmless, letters as readers know them."""
        return labels(self.source_tokens)

    @property
    def target_labels(self) -> list[str]:
        """Target tokens as they are shown."""
        return labels(self.target_tokens)

    @property
    def probabilities(self) -> list[float] | None:
        """Probability of each target token, 0 to 1, where log-probabilities are known."""
        if self.token_log_probs is None:
            return None
        return [math.exp(min(value, 0.0)) for value in self.token_log_probs]

    @property
    def strongest(self) -> list[int | None]:
        """For each target token, the source position with the most weight; None for a zero row.

        Among equals the first.
        """
        return [int(row.argmax()) if row.any() else None for row in self.weights]


def percent(share: float) -> str:
    """``0.934`` as ``93%``."""
    return f"{100 * share:.0f}%"
