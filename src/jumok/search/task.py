"""What every search is given beside the model: limits, rules, and what makes one output better."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jumok.search.penalty import CoveragePenalty, LengthPenalty
from jumok.search.rules import Rules
from jumok.search.step import Evidence, mean_of_heads


class Task(NamedTuple):
    """One batch of sources."""

    max_lengths: Int[np.ndarray, "batch"]
    """The most tokens of each output, EOS counted."""
    penalty: LengthPenalty
    rules: Rules = Rules()
    coverage: CoveragePenalty | None = None

    def score(
        self,
        total: Float[np.ndarray, "rows"],
        length: Int[np.ndarray, "*rows"],
        source: Int[np.ndarray, "rows"],
        seen: Float[np.ndarray, "rows src_len"] | None,
    ) -> Float[np.ndarray, "rows"]:
        """What hypotheses are ranked by. ``seen`` is the attention to each position, summed."""
        scores = total / self.penalty(length)
        if self.coverage is None:
            return scores
        assert seen is not None, "a coverage penalty needs attention"
        return scores + self.coverage(seen, source)


def looked(evidence: Evidence) -> Float[np.ndarray, "rows src_len"] | None:
    """The attention of a step, of several heads the mean."""
    return None if evidence.attention is None else mean_of_heads(evidence.attention)
