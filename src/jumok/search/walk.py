"""The loop of every search with one hypothesis per source."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from jumok.search.penalty import LengthPenalty
from jumok.search.step import Evidence, Hypothesis, SearchState, StepFn
from jumok.text import BOS, EOS

Choose = Callable[
    [Float[np.ndarray, "rows vocab"], Int[np.ndarray, "rows"], int],
    tuple[Int[np.ndarray, "rows"], Bool[np.ndarray, "rows"]],
]
"""``choose(log_probs, outputs, position)``: a token for each row, and which rows end with it.

``outputs`` says which hypothesis each row belongs to.
"""


def walk(
    step: StepFn, state: SearchState, size: int, choose: Choose, penalty: LengthPenalty
) -> list[Hypothesis]:
    """One hypothesis for each of the ``size`` rows of ``state``.

    Rows leave the batch as they end.
    """
    outputs = np.arange(size)
    tokens = np.full(size, BOS)
    chosen: list[list[int]] = [[] for _ in outputs]
    log_probs: list[list[float]] = [[] for _ in outputs]
    evidence: list[list[Evidence]] = [[] for _ in outputs]
    position = 0
    while len(outputs):
        result = step(tokens, state)
        tokens, ends = choose(result.log_probs, outputs, position)
        position += 1
        for row, output in enumerate(outputs):
            chosen[output].append(int(tokens[row]))
            log_probs[output].append(float(result.log_probs[row, tokens[row]]))
            evidence[output].append(result.evidence.row(row))
        alive = np.flatnonzero(~ends)
        state = result.state if len(alive) == len(outputs) else result.state.select(alive)
        tokens, outputs = tokens[alive], outputs[alive]
    return [
        Hypothesis(
            np.array(ids),
            np.array(probs),
            Evidence.join(steps),
            float(sum(probs) / penalty(np.array(len(ids)))),
            ids[-1] == EOS,
        )
        for ids, probs, steps in zip(chosen, log_probs, evidence, strict=True)
    ]
