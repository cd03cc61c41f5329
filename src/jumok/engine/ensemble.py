"""Several models as one: the mean of their probabilities, and of their attention.

    log p(y) = log( sum_m p_m(y) / M )

As Sutskever et al. 2014, section 3.6, do with theirs. They must write the same tokens, and read the
same: else there would be no one attention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jumok.engine.base import Candidates, Engine
from jumok.search import Evidence, SearchState, Step, mean_of_heads


class EnsembleState(NamedTuple):
    """A state of each member."""

    members: tuple[SearchState, ...]

    def select(self, rows: Int[np.ndarray, "new_rows"]) -> EnsembleState:
        """The given rows of each."""
        return EnsembleState(tuple(member.select(rows) for member in self.members))


class EnsembleEngine:
    """Engines with the same tokens on both sides."""

    def __init__(self, members: Sequence[Engine]) -> None:
        self.members = tuple(members)
        self.target_vocab = members[0].target_vocab
        self.attends = any(member.attends for member in members)

    def start(
        self,
        source: Int[np.ndarray, "batch src_len"],
        lengths: Int[np.ndarray, "batch"],
        copies: Int[np.ndarray, "batch src_len"] | None = None,
        candidates: Candidates | None = None,
    ) -> EnsembleState:
        """Read the sources with every member."""
        return EnsembleState(
            tuple(m.start(source, lengths, copies, candidates) for m in self.members)
        )

    def step(self, tokens: Int[np.ndarray, "rows"], state: EnsembleState) -> Step:
        """Make one step with every member."""
        steps = [
            member.step(tokens, part)
            for member, part in zip(self.members, state.members, strict=True)
        ]
        stacked = np.stack([step.log_probs for step in steps])
        highest = stacked.max(axis=0)
        safe = np.where(np.isneginf(highest), 0.0, highest)
        with np.errstate(divide="ignore"):  # the logarithm of no probability at all
            log_probs = safe + np.log(np.exp(stacked - safe).mean(axis=0))
        evidence = Evidence(
            _mean(steps, lambda shown: shown.attention),
            _mean(steps, lambda shown: shown.generation),
            _mean(steps, lambda shown: shown.feature_attention),
        )
        return Step(log_probs, EnsembleState(tuple(step.state for step in steps)), evidence)


def _mean(
    steps: Sequence[Step], part: Callable[[Evidence], Float[np.ndarray, "..."] | None]
) -> Float[np.ndarray, "..."] | None:
    """Over the members that have it, and over their heads."""
    found = [
        mean_of_heads(shown) if shown.ndim > 1 else shown
        for step in steps
        if (shown := part(step.evidence)) is not None
    ]
    return np.mean(found, axis=0) if found else None
