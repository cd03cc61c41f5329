"""A model of nothing: what comes after a beginning of an output is drawn, anew for each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jumok.search import Evidence, Spelling, Step
from jumok.text import EOS

WORDS = {4: "a", 5: "b", 6: "ab", 7: "ba"}
"""Tokens that can be put together to one text in several ways."""
VOCAB = 8
FORBIDDEN = np.array([True, True, False, True] + [False] * 4)
SPELLING = Spelling(np.array([[-1, -1]] * 3 + [[-2, -1], [97, -1], [98, -1], [97, 98], [98, 97]]))


def text(tokens) -> str:
    """What an output says."""
    return "".join(WORDS[int(t)] for t in tokens if t != EOS)


def units(phrase: str) -> list[int]:
    return list(map(ord, phrase))


class State(NamedTuple):
    source: np.ndarray
    written: np.ndarray

    def select(self, rows):
        return State(self.source[rows], self.written[rows])


class Toy:
    """``lengths`` are those of the sources; wider ``padding`` must change nothing."""

    def __init__(self, seed: int, lengths, heads: int = 0, padding: int = 0) -> None:
        self.seed, self.lengths, self.heads = seed, list(lengths), heads
        self.width = max(self.lengths) + padding
        self.real = np.arange(self.width) < np.array(self.lengths)[:, None]
        self.rows = 0
        """Rows that were computed."""

    def start(self) -> State:
        size = len(self.lengths)
        return State(np.arange(size), np.zeros((size, 0), dtype=int))

    def __call__(self, tokens, state: State) -> Step:
        assert len(tokens) == len(state.source)
        self.rows += len(tokens)
        written = np.hstack([state.written, np.asarray(tokens)[:, None]])
        made = [self.at(s, row[1:]) for s, row in zip(state.source, written, strict=True)]
        attention = np.zeros((len(made), max(1, self.heads), self.width))
        for row, (_, weights) in zip(attention, made, strict=True):
            row[:, : weights.shape[1]] = weights
        if not self.heads:
            attention = attention[:, 0]
        log_probs = np.stack([p for p, _ in made])
        return Step(log_probs, State(state.source, written), Evidence(attention))

    def at(self, source: int, before) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities and the heads' attention after the tokens ``before``."""
        random = np.random.default_rng([self.seed, self.lengths[source], *map(int, before)])
        scores = random.normal(scale=1.5, size=VOCAB)
        weights = random.dirichlet(np.ones(self.lengths[source]), size=max(1, self.heads))
        return scores - np.log(np.exp(scores).sum()), weights
