"""What a search decided at every step, and the way back from its ends.

A step has rows (the partial hypotheses that were continued) and candidates (the continuations that
were chosen). A candidate either ends a hypothesis or becomes a row of the next step. Everything is
an array over rows or candidates; hypotheses become objects only when the search is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jumok.search.step import Evidence, Hypothesis
from jumok.text import EOS


class Ends(NamedTuple):
    """Candidates with which hypotheses end, those of any step together."""

    step: Int[np.ndarray, "ends"]
    candidate: Int[np.ndarray, "ends"]
    score: Float[np.ndarray, "ends"]

    @staticmethod
    def none() -> Ends:
        """No end yet."""
        return Ends(np.zeros(0, int), np.zeros(0, int), np.zeros(0))

    @staticmethod
    def join(parts: Sequence[Ends]) -> Ends:
        """Those of several steps."""
        return Ends(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def pick(self, which: np.ndarray) -> Ends:
        """Some of them, by index or mask."""
        return Ends(*(part[which] for part in self))


@dataclass
class _Step:
    evidence: Evidence
    parent: Int[np.ndarray, "candidates"]
    token: Int[np.ndarray, "candidates"]
    log_prob: Float[np.ndarray, "candidates"]
    kept: Int[np.ndarray, "next_rows"] | None = None


class History:
    """All steps so far."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(
        self,
        evidence: Evidence,
        parent: Int[np.ndarray, "candidates"],
        token: Int[np.ndarray, "candidates"],
        log_prob: Float[np.ndarray, "candidates"],
    ) -> None:
        """Add a step: what its rows gave, and the row and the token of each candidate."""
        self._steps.append(_Step(evidence, parent, token, log_prob))

    def keep(self, kept: Int[np.ndarray, "next_rows"]) -> None:
        """Say which candidates of the last step are the rows of the next."""
        self._steps[-1].kept = kept

    def tokens(self, ends: Ends) -> list[Int[np.ndarray, "tgt_len"]]:
        """The tokens of hypotheses."""
        found = np.zeros((len(ends.step), len(self._steps)), dtype=np.int64)
        for number, alive, candidate in self._back(ends):
            found[alive, number] = self._steps[number].token[candidate]
        return [row[: last + 1] for row, last in zip(found, ends.step, strict=True)]

    def hypotheses(self, ends: Ends) -> list[Hypothesis]:
        """Hypotheses with all that is known of them."""
        count = len(ends.step)
        log_probs = np.zeros((count, len(self._steps)))
        shown: list[np.ndarray | None] = [None] * len(Evidence._fields)
        for number, alive, candidate in self._back(ends):
            step = self._steps[number]
            log_probs[alive, number] = step.log_prob[candidate]
            for field, part in enumerate(step.evidence):
                if part is None:
                    continue
                whole = shown[field]
                if whole is None:
                    zeros = np.zeros((count, len(self._steps), *part.shape[1:]), part.dtype)
                    whole = shown[field] = zeros
                whole[alive, number] = part[step.parent[candidate]]
        return [
            Hypothesis(
                tokens,
                log_probs[i, : len(tokens)],
                Evidence(*(None if w is None else w[i, : len(tokens)] for w in shown)),
                float(ends.score[i]),
                bool(tokens[-1] == EOS),
            )
            for i, tokens in enumerate(self.tokens(ends))
        ]

    def _back(
        self, ends: Ends
    ) -> Iterator[tuple[int, Int[np.ndarray, "alive"], Int[np.ndarray, "alive"]]]:
        """From the last step to the first: which hypotheses have it, and as what candidate."""
        candidate = np.zeros(len(ends.step), dtype=np.int64)
        for number in reversed(range(len(self._steps))):
            ended, later = ends.step == number, ends.step > number
            if later.any():
                kept = self._steps[number].kept
                assert kept is not None
                candidate[later] = kept[self._steps[number + 1].parent[candidate[later]]]
            candidate[ended] = ends.candidate[ended]
            alive = np.flatnonzero(ended | later)
            yield number, alive, candidate[alive]
