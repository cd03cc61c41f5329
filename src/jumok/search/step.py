"""The one thing a search knows about a model: a function that makes one step.

A model, an ensemble, a language model or a hand-written table are all the same here. Arrays are
NumPy; what the state is made of is the engine's own business.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int


@runtime_checkable
class SearchState(Protocol):
    """State of some rows; ``select`` picks rows, repeats them or puts them in another order."""

    def select(self, rows: Int[np.ndarray, "new_rows"]) -> SearchState:
        """The state of the given rows."""
        ...


class Step(NamedTuple):
    """What a step returns; ``attention`` is None where the model has none.

    It has an axis of heads only where the model has several. ``generation``, where source tokens
    can be copied, is the share of the probability that does not come from copying.
    """

    log_probs: Float[np.ndarray, "rows vocab"]
    state: SearchState
    attention: Float[np.ndarray, "rows *heads src_len"] | None
    generation: Float[np.ndarray, "rows"] | None = None


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

    ``attention`` has one row per token, EOS included, as wide as the padded source it came from;
    for ``generation`` see `Step`.
    ``score`` is what hypotheses are ranked by: the log-probability over the length penalty.
    """

    tokens: Int[np.ndarray, "tgt_len"]
    token_log_probs: Float[np.ndarray, "tgt_len"]
    attention: Float[np.ndarray, "tgt_len *heads src_len"] | None
    score: float
    finished: bool
    generation: Float[np.ndarray, "tgt_len"] | None = None


def forbid(
    log_probs: Float[np.ndarray, "rows tokens"], forbidden: Bool[np.ndarray, "vocab"]
) -> Float[np.ndarray, "rows tokens"]:
    """A copy in which the forbidden tokens have no probability.

    Tokens beyond ``forbidden`` are the sources' own, and are allowed.
    """
    allowed = log_probs.copy()
    allowed[:, np.flatnonzero(forbidden)] = -np.inf
    return allowed
