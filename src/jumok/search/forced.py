"""Forced decoding: the score and the attention of targets that are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jumok.search.penalty import CoveragePenalty, LengthPenalty
from jumok.search.step import Hypothesis, SearchState, StepFn
from jumok.search.task import Task
from jumok.search.walk import walk
from jumok.text import UNK


def forced_search(
    step: StepFn,
    state: SearchState,
    targets: Sequence[np.ndarray],
    penalty: LengthPenalty,
    coverage: CoveragePenalty | None = None,
) -> list[Hypothesis]:
    """Walk along ``targets`` (ids, each ending with EOS), one per row of ``state``.

    A token that can only be copied, and cannot be here, is scored as UNK.
    """

    def choose(
        scores: Float[np.ndarray, "rows tokens"], outputs: Int[np.ndarray, "rows"], position: int
    ) -> Int[np.ndarray, "rows"]:
        tokens = np.array([targets[output][position] for output in outputs.tolist()])
        impossible = np.isneginf(scores[np.arange(len(tokens)), tokens])
        return np.where(impossible, UNK, tokens)

    lengths = np.array([len(target) for target in targets])
    found = walk(step, state, Task(lengths, penalty, coverage=coverage), choose)
    return [one for one in found if one is not None]
