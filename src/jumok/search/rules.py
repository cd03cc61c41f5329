"""What may come next: everything that changes the scores of a step before the search chooses.

A rule sees all rows at once: the scores, and the tokens that each row has written. It forbids by
``-inf``. What must stay true over a whole output is a `Guide`, whose state goes with the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jumok.search.automaton import Guide
from jumok.text import EOS

Rule = Callable[[Float[np.ndarray, "rows tokens"], Int[np.ndarray, "rows tgt_len"]], None]
"""``rule(scores, written)`` changes the scores in place. They are log-probabilities, at most 0."""


def forbid(forbidden: Bool[np.ndarray, "vocab"]) -> Rule:
    """Never these tokens. Tokens beyond ``forbidden`` are the sources' own, and are allowed."""
    columns = np.flatnonzero(forbidden)

    def rule(scores: np.ndarray, written: np.ndarray) -> None:
        scores[:, columns] = -np.inf

    return rule


def min_length(least: int) -> Rule:
    """At least so many tokens before EOS."""

    def rule(scores: np.ndarray, written: np.ndarray) -> None:
        if written.shape[1] < least:
            scores[:, EOS] = -np.inf

    return rule


def no_repeat_ngram(size: int) -> Rule:
    """No ``size`` tokens in a row that the output has already: Paulus et al. 2018, section 2.5."""

    def rule(scores: np.ndarray, written: np.ndarray) -> None:
        length = written.shape[1]
        if length < size:
            return
        ngrams = np.lib.stride_tricks.sliding_window_view(written, size, axis=1)
        last = written[:, length - size + 1 :]
        row, place = np.nonzero((ngrams[:, :, :-1] == last[:, None]).all(axis=2))
        scores[row, ngrams[row, place, -1]] = -np.inf

    return rule


def repetition_penalty(factor: float) -> Rule:
    """The log-probability of a token that the output has already, times ``factor``.

    Keskar et al. 2019, section 4.1, eq. 1, where it divides a logit. Differs: log-probabilities are
    never positive, so a product makes every such token less probable, and EOS is never one of them.
    """

    def rule(scores: np.ndarray, written: np.ndarray) -> None:
        rows = np.arange(len(scores))[:, None]
        scores[rows, written] = scores[rows, written] * factor  # each once, however often it stands

    return rule


class Ruled(NamedTuple):
    """A step under the rules."""

    scores: Float[np.ndarray, "rows tokens"]
    states: tuple[Int[np.ndarray, "rows tokens"], ...]
    """Of every guide, after each token."""


class Rules:
    """All rules of one search."""

    def __init__(self, rules: Sequence[Rule] = (), guides: Sequence[Guide] = ()) -> None:
        self._rules, self._guides = tuple(rules), tuple(guides)

    def start(self, batch: int) -> Int[np.ndarray, "batch guides"]:
        """The state of every guide before the first token."""
        found = np.zeros((batch, len(self._guides)), dtype=np.int64)
        for column, guide in enumerate(self._guides):
            found[:, column] = guide.start(batch)
        return found

    def apply(
        self,
        log_probs: Float[np.ndarray, "rows tokens"],
        written: Int[np.ndarray, "rows tgt_len"],
        source: Int[np.ndarray, "rows"],
        states: Int[np.ndarray, "rows guides"],
    ) -> Ruled:
        """Scores, which are log-probabilities where no rule says otherwise."""
        scores, tokens = log_probs.copy(), log_probs.shape[1]
        for rule in self._rules:
            rule(scores, written)
        after = tuple(
            guide.next(states[:, column], source, tokens)
            for column, guide in enumerate(self._guides)
        )
        for one in after:
            scores[one < 0] = -np.inf
        return Ruled(scores, after)

    def follow(
        self, ruled: Ruled, row: Int[np.ndarray, "new"], token: Int[np.ndarray, "new"]
    ) -> Int[np.ndarray, "new guides"]:
        """The guides' states after the ``token`` of each ``row``."""
        found = np.zeros((len(row), len(self._guides)), dtype=np.int64)
        for column, after in enumerate(ruled.states):
            found[:, column] = after[row, token]
        return found

    def accepts(self, states: Int[np.ndarray, "rows guides"]) -> Bool[np.ndarray, "rows"]:
        """Whether outputs that stand there may be given out, complete or cut."""
        found = np.ones(len(states), dtype=bool)
        for column, guide in enumerate(self._guides):
            found &= guide.accepts(states[:, column])
        return found

    @property
    def leads(self) -> bool:
        """Whether something is required that has to be gone after."""
        return any(guide.leads for guide in self._guides)

    def levels(self, ruled: Ruled) -> Int[np.ndarray, "rows tokens"]:
        """How much of all that is required is there after each token that is allowed."""
        found = np.zeros(ruled.scores.shape, dtype=np.int64)
        for guide, after in zip(self._guides, ruled.states, strict=True):
            found += guide.level(after)
        return found
