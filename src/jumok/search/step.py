"""The one thing a search knows about a model: a function that makes one step.

A model, an ensemble, a language model or a hand-written table are all the same here. Arrays are
NumPy; what the state is made of is the engine's own business.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int


@runtime_checkable
class SearchState(Protocol):
    """State of some rows; ``select`` picks rows, repeats them or puts them in another order."""

    def select(self, rows: Int[np.ndarray, "new_rows"]) -> SearchState:
        """The state of the given rows."""
        ...


class Evidence(NamedTuple):
    """What a step can say of each row beside the probabilities; None where a model has none of it.

    Arrays have an axis of rows first. Those of attention end with src_len, as wide as the padded
    source, and have an axis of heads before it where the model has several.
    """

    attention: Float[np.ndarray, "*axes src_len"] | None = None
    generation: Float[np.ndarray, "*axes"] | None = None
    """Where source tokens can be copied: the share of the probability that is not copied."""
    feature_attention: Float[np.ndarray, "*axes src_len"] | None = None
    """Where features are read apart: the attention to them."""


def mean_of_heads(
    attention: Float[np.ndarray, "rows *heads src_len"],
) -> Float[np.ndarray, "rows src_len"]:
    """Attention without the axis of heads, where there is one."""
    return attention.mean(axis=1) if attention.ndim == 3 else attention


class Step(NamedTuple):
    """What a step returns."""

    log_probs: Float[np.ndarray, "rows tokens"]
    state: SearchState
    evidence: Evidence = Evidence()


@runtime_checkable
class StepFn(Protocol):
    """``step(tokens, state)``: the last token of every row in, log-probabilities of the next out.

    ``state`` is what the engine's ``start`` or the step before returned; no one else looks inside.
    """

    def __call__(self, tokens: Int[np.ndarray, "rows"], state: Any) -> Step:
        """Make one step."""
        ...


class Hypothesis(NamedTuple):
    """One output. ``tokens`` end with EOS where ``finished``; else they were cut at the limit.

    ``evidence`` has one row per token, EOS included.
    ``score`` is what hypotheses are ranked by: see `Task.score`.
    """

    tokens: Int[np.ndarray, "tgt_len"]
    token_log_probs: Float[np.ndarray, "tgt_len"]
    evidence: Evidence
    score: float
    finished: bool
