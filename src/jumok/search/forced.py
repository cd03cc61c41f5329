"""Forced decoding: the score and the attention of targets that are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jumok.search.penalty import LengthPenalty
from jumok.search.step import Hypothesis, SearchState, StepFn
from jumok.search.walk import walk
from jumok.text import UNK


def forced_search(
    step: StepFn,
    state: SearchState,
    targets: Sequence[np.ndarray],
    penalty: LengthPenalty,
) -> list[Hypothesis]:
    """Walk along ``targets`` (ids, each ending with EOS), one per row of ``state``.

    A token that can only be copied, and cannot be here, is scored as UNK.
    """
    lengths = np.array([len(target) for target in targets])

    def choose(
        log_probs: Float[np.ndarray, "rows tokens"], outputs: Int[np.ndarray, "rows"], position: int
    ) -> tuple[Int[np.ndarray, "rows"], Bool[np.ndarray, "rows"]]:
        tokens = np.array([targets[output][position] for output in outputs.tolist()])
        impossible = np.isneginf(log_probs[np.arange(len(tokens)), tokens])
        return np.where(impossible, UNK, tokens), lengths[outputs] == position + 1

    return walk(step, state, len(targets), choose, penalty)
