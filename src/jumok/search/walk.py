"""The loop of every search with one hypothesis per row: no hypothesis has a rival."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from jumok.search.history import Ends, History
from jumok.search.step import Hypothesis, SearchState, StepFn
from jumok.search.task import Task, looked
from jumok.text import BOS, EOS

Choose = Callable[
    [Float[np.ndarray, "rows vocab"], Int[np.ndarray, "rows"], int], Int[np.ndarray, "rows"]
]
"""``choose(scores, outputs, position)``: a token for each row. ``outputs`` says which it writes."""


Watch = Callable[[Int[np.ndarray, "rows"], Int[np.ndarray, "rows"]], None]
"""``watch(outputs, tokens)`` is told of every token as soon as it is there, and whose it is."""


def walk(
    step: StepFn,
    state: SearchState,
    task: Task,
    choose: Choose,
    source: Int[np.ndarray, "outputs"] | None = None,
    watch: Watch | None = None,
) -> list[Hypothesis | None]:
    """One hypothesis for each row of ``state``; None where the rules leave nothing.

    ``source`` says which source each row reads, if not one each. Rows leave the batch as they end.
    """
    source = np.arange(len(task.max_lengths)) if source is None else source
    size, history, ends = len(source), History(), [Ends.none()]
    ended: list[Int[np.ndarray, "ended"]] = []
    outputs, tokens, total = np.arange(size), np.full(size, BOS), np.zeros(size)
    written, guides = np.zeros((size, 0), dtype=np.int64), task.rules.start(len(task.max_lengths))
    guides, seen = guides[source], None
    while len(outputs):
        result = step(tokens, state)
        ruled = task.rules.apply(result.log_probs, written, source[outputs], guides)
        tokens = choose(ruled.scores, outputs, len(history))
        rows = np.arange(len(outputs))
        total = total + ruled.scores[rows, tokens]
        possible = ~np.isneginf(ruled.scores.max(axis=1))
        guides = task.rules.follow(ruled, rows, tokens)
        seen = _more(seen, looked(result.evidence)) if task.coverage else None
        at_limit = len(history) + 1 >= task.max_lengths[source[outputs]]
        ending = possible & ((tokens == EOS) | (at_limit & task.rules.accepts(guides)))
        going = np.flatnonzero(possible & (tokens != EOS) & ~at_limit)
        history.add(result.evidence, rows, tokens, result.log_probs[rows, tokens])
        history.keep(going)
        if watch is not None:
            watch(outputs[possible], tokens[possible])
        [last] = np.nonzero(ending)
        score = task.score(
            total[last],
            np.full(len(last), len(history)),
            source[outputs[last]],
            None if seen is None else seen[last],
        )
        ends.append(Ends(np.full(len(last), len(history) - 1), last, score))
        ended.append(outputs[last])
        state = result.state if len(going) == len(outputs) else result.state.select(going)
        written = np.hstack([written, tokens[:, None]])[going]
        outputs, tokens, total, guides = outputs[going], tokens[going], total[going], guides[going]
        seen = None if seen is None else seen[going]
    found: list[Hypothesis | None] = [None] * size
    hypotheses = history.hypotheses(Ends.join(ends))
    for output, hypothesis in zip(np.concatenate(ended), hypotheses, strict=True):
        found[output] = hypothesis
    return found


def _more(before: np.ndarray | None, now: np.ndarray | None) -> np.ndarray | None:
    return now if before is None or now is None else before + now
