"""Greedy search: the most probable token at every step."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from jumok.search.penalty import LengthPenalty
from jumok.search.step import Hypothesis, SearchState, StepFn, forbid
from jumok.search.walk import walk
from jumok.text import EOS


def greedy_search(
    step: StepFn,
    state: SearchState,
    max_lengths: Int[np.ndarray, "batch"],
    forbidden: Bool[np.ndarray, "vocab"],
    penalty: LengthPenalty,
) -> list[Hypothesis]:
    """One hypothesis per row of ``state``, of at most ``max_lengths`` tokens, EOS counted."""

    def choose(
        log_probs: Float[np.ndarray, "rows vocab"], outputs: Int[np.ndarray, "rows"], position: int
    ) -> tuple[Int[np.ndarray, "rows"], Bool[np.ndarray, "rows"]]:
        tokens = forbid(log_probs, forbidden).argmax(axis=1)
        return tokens, (tokens == EOS) | (position + 1 >= max_lengths[outputs])

    return walk(step, state, len(max_lengths), choose, penalty)
