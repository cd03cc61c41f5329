"""Forced decoding: the score and the attention of targets that are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jumok.search.penalty import LengthPenalty
from jumok.search.step import Hypothesis, SearchState, StepFn
from jumok.text import BOS, EOS


def forced_search(
    step: StepFn,
    state: SearchState,
    targets: Sequence[np.ndarray],
    penalty: LengthPenalty,
) -> list[Hypothesis]:
    """Walk along ``targets`` (ids, each ending with EOS), one per row of ``state``."""
    lengths = np.array([len(t) for t in targets])
    rows = np.arange(len(targets))
    log_probs: list[list[float]] = [[] for _ in targets]
    attention: list[list[np.ndarray]] = [[] for _ in targets]
    tokens = np.full(len(rows), BOS)
    for position in range(int(lengths.max(initial=0))):
        result = step(tokens, state)
        tokens = np.array([targets[row][position] for row in rows.tolist()])
        for row, output in enumerate(rows):
            log_probs[output].append(float(result.log_probs[row, tokens[row]]))
            if result.attention is not None:
                attention[output].append(result.attention[row])
        alive = np.flatnonzero(lengths[rows] > position + 1)
        state = result.state.select(alive)
        tokens, rows = tokens[alive], rows[alive]
    return [
        Hypothesis(
            np.asarray(target),
            np.array(probs),
            np.stack(weights) if weights else None,
            float(sum(probs) / penalty(np.array(len(target)))),
            bool(target[-1] == EOS),
        )
        for target, probs, weights in zip(targets, log_probs, attention, strict=True)
    ]
