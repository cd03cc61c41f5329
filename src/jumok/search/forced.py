"""Forced decoding: the score and the attention of targets that are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jumok.search.penalty import LengthPenalty
from jumok.search.step import Hypothesis, SearchState, StepFn
from jumok.search.walk import walk


def forced_search(
    step: StepFn,
    state: SearchState,
    targets: Sequence[np.ndarray],
    penalty: LengthPenalty,
) -> list[Hypothesis]:
    """Walk along ``targets`` (ids, each ending with EOS), one per row of ``state``."""
    lengths = np.array([len(target) for target in targets])

    def choose(
        _: Float[np.ndarray, "rows vocab"], outputs: Int[np.ndarray, "rows"], position: int
    ) -> tuple[Int[np.ndarray, "rows"], Bool[np.ndarray, "rows"]]:
        tokens = np.array([targets[output][position] for output in outputs.tolist()])
        return tokens, lengths[outputs] == position + 1

    return walk(step, state, len(targets), choose, penalty)
