"""Ancestral sampling: every token is drawn from what the model makes of those before it.

    p(y) ~ exp(score(y) / temperature)        over the tokens that are left by
    top_k     the k most probable (Fan et al. 2018, section 5.4)
    top_p     the fewest that together have p of what top_k left (Holtzman et al. 2020, section 3.1)

Every output has random numbers of its own, so what stands beside it in a batch changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jumok.search.step import Hypothesis, SearchState, StepFn
from jumok.search.task import Task
from jumok.search.walk import Watch, walk


class Sampling(NamedTuple):
    """How tokens are drawn."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0


def sample_search(
    step: StepFn,
    state: SearchState,
    task: Task,
    sampling: Sampling,
    generators: Sequence[Sequence[np.random.Generator]],
    watch: Watch | None = None,
) -> list[list[Hypothesis]]:
    """As many hypotheses for each row of ``state`` as it has ``generators``, as they were drawn.

    Fewer where the rules leave no token.
    """
    source = np.repeat(np.arange(len(generators)), [len(some) for some in generators])
    longest = task.max_lengths[source]
    each = [generator for some in generators for generator in some]
    # a generator's numbers are the same however many are asked for
    drawn = np.zeros((len(each), int(longest.max(initial=0))))
    for row, (generator, length) in enumerate(zip(each, longest, strict=True)):
        drawn[row, :length] = generator.random(length)

    def choose(
        scores: Float[np.ndarray, "rows tokens"], outputs: Int[np.ndarray, "rows"], position: int
    ) -> Int[np.ndarray, "rows"]:
        return _draw(probabilities(scores, sampling), drawn[outputs, position])

    found: list[list[Hypothesis]] = [[] for _ in generators]
    for which, hypothesis in zip(
        source, walk(step, state.select(source), task, choose, source, watch), strict=True
    ):
        if hypothesis is not None:
            found[which].append(hypothesis)
    return found


def probabilities(
    scores: Float[np.ndarray, "rows tokens"], sampling: Sampling
) -> Float[np.ndarray, "rows tokens"]:
    """What tokens are drawn from; a row without a possible token has zeros.

    Among equals the first tokens are left.
    """
    top = scores.max(axis=1, keepdims=True).astype(np.float64)
    p = np.exp((scores - np.where(np.isneginf(top), 0.0, top)) / sampling.temperature)
    if sampling.top_k is None and sampling.top_p == 1.0:
        return _normalised(p)
    order = np.argsort(-p, axis=1, kind="stable")
    ordered = _normalised(np.take_along_axis(p, order, axis=1)[:, : sampling.top_k])
    before = np.cumsum(ordered, axis=1) - ordered
    ordered[before >= sampling.top_p] = 0.0
    left = np.zeros_like(p)
    np.put_along_axis(left, order[:, : sampling.top_k], ordered, axis=1)
    return _normalised(left)


def _normalised(p: Float[np.ndarray, "rows tokens"]) -> Float[np.ndarray, "rows tokens"]:
    total = p.sum(axis=1, keepdims=True)
    return p / np.where(total > 0, total, 1.0)


def _draw(
    p: Float[np.ndarray, "rows tokens"], uniform: Float[np.ndarray, "rows"]
) -> Int[np.ndarray, "rows"]:
    """The first token whose share of the unit interval ends after the random number."""
    ends = np.cumsum(p, axis=1)
    # the last end may be a little under 1: the number is measured by it, and a token is always met
    return (ends > uniform[:, None] * ends[:, -1:]).argmax(axis=1)
