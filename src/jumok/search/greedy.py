"""Greedy search: the most probable token at every step."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from jumok.search.penalty import LengthPenalty
from jumok.search.step import Hypothesis, SearchState, StepFn, forbid
from jumok.text import BOS, EOS


def greedy_search(
    step: StepFn,
    state: SearchState,
    max_lengths: Int[np.ndarray, "batch"],
    forbidden: Bool[np.ndarray, "vocab"],
    penalty: LengthPenalty,
) -> list[Hypothesis]:
    """One hypothesis per row of ``state``, of at most ``max_lengths`` tokens, EOS counted.

    Rows leave the batch as they finish.
    """
    rows = np.arange(len(max_lengths))  # which output each live row belongs to
    tokens = np.full(len(rows), BOS)
    chosen: list[list[int]] = [[] for _ in rows]
    log_probs: list[list[float]] = [[] for _ in rows]
    attention: list[list[np.ndarray]] = [[] for _ in rows]
    length = 0
    while len(rows):
        result = step(tokens, state)
        length += 1
        allowed = forbid(result.log_probs, forbidden)
        tokens = allowed.argmax(axis=1)
        best = np.take_along_axis(allowed, tokens[:, None], axis=1)[:, 0]
        for row, output in enumerate(rows):
            chosen[output].append(int(tokens[row]))
            log_probs[output].append(float(best[row]))
            if result.attention is not None:
                attention[output].append(result.attention[row])
        alive = np.flatnonzero((tokens != EOS) & (length < max_lengths[rows]))
        state = result.state if len(alive) == len(rows) else result.state.select(alive)
        tokens, rows = tokens[alive], rows[alive]
    return [
        Hypothesis(
            np.array(ids),
            np.array(probs),
            np.stack(weights) if weights else None,
            float(sum(probs) / penalty(np.array(len(ids)))),
            ids[-1] == EOS,
        )
        for ids, probs, weights in zip(chosen, log_probs, attention, strict=True)
    ]
