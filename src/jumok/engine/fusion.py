"""A language model that judges what another model writes, while it writes it.

    log p(y_t) + weight log p_LM(y_t)

Shallow fusion: Gulcehre et al. 2015, section 4.1. These are not the logarithms of probabilities,
but what outputs are ranked by. A token that can only be copied is unknown to the language model.
Where there are candidates, p and p_LM are both among these alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jumok.engine.base import Candidates, Engine
from jumok.search import SearchState, Step
from jumok.text import EOS, UNK


class FusionState(NamedTuple):
    """Of both."""

    model: SearchState
    judge: SearchState

    def select(self, rows: Int[np.ndarray, "new_rows"]) -> FusionState:
        """The given rows."""
        return FusionState(self.model.select(rows), self.judge.select(rows))


class FusionEngine:
    """``model`` with ``judge``, a language model of the same target tokens."""

    def __init__(self, model: Engine, judge: Engine, weight: float) -> None:
        self.model, self.judge, self.weight = model, judge, weight
        self.target_vocab, self.attends = model.target_vocab, model.attends

    def start(
        self,
        source: Int[np.ndarray, "batch src_len"],
        lengths: Int[np.ndarray, "batch"],
        copies: Int[np.ndarray, "batch src_len"] | None = None,
        candidates: Candidates | None = None,
    ) -> FusionState:
        """Read the sources; the judge reads nothing."""
        nothing = np.full((len(source), 1), EOS)
        one = np.ones(len(source), dtype=np.int64)
        judge = self.judge.start(nothing, one, candidates=candidates)
        return FusionState(self.model.start(source, lengths, copies, candidates), judge)

    def step(self, tokens: Int[np.ndarray, "rows"], state: FusionState) -> Step:
        """Make one step with both."""
        made = self.model.step(tokens, state.model)
        known = np.where(tokens < self.target_vocab, tokens, UNK)
        judged = self.judge.step(known, state.judge)
        fused = made.log_probs + self.weight * judged.log_probs[:, UNK, None]
        known_to_both = slice(0, judged.log_probs.shape[1])
        fused[:, known_to_both] = made.log_probs[:, known_to_both] + self.weight * judged.log_probs
        after = FusionState(made.state, judged.state)
        return Step(fused, after, made.evidence)
