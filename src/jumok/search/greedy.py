"""Greedy search: the best token at every step."""

from __future__ import annotations

from jumok.search.step import Hypothesis, SearchState, StepFn
from jumok.search.task import Task
from jumok.search.walk import walk


def greedy_search(step: StepFn, state: SearchState, task: Task) -> list[list[Hypothesis]]:
    """One hypothesis per row of ``state``; none where the rules leave no token."""
    found = walk(step, state, task, lambda scores, outputs, position: scores.argmax(axis=1))
    return [[] if one is None else [one] for one in found]
