"""What an engine is: a loaded model that starts from sources and then makes steps."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from jumok.search import Hypothesis, PowerPenalty, SearchState, Step

EngineName = Literal["auto", "torch", "onnx", "onnx-int8"]
"""See `jumok.engine.load_engine`."""


@runtime_checkable
class Engine(Protocol):
    """Turns a batch of source ids into a search state, and a state into the next step."""

    target_vocab: int
    """Size of the target vocabulary."""

    attends: bool
    """Whether steps have attention."""

    def start(
        self,
        source: Int[np.ndarray, "batch src_len"],
        lengths: Int[np.ndarray, "batch"],
        copies: Int[np.ndarray, "batch src_len"] | None = None,
    ) -> SearchState:
        """Read the sources (right-padded).

        ``copies``, where tokens can be copied: the id of each in the extended target vocabulary.
        """
        ...

    def step(self, tokens: Int[np.ndarray, "rows"], state: Any) -> Step:
        """Make one decoding step."""
        ...


@runtime_checkable
class WholeSearch(Protocol):
    """An engine that can do a plain search as a whole, faster than by steps."""

    def whole_search(
        self,
        source: Int[np.ndarray, "batch src_len"],
        lengths: Int[np.ndarray, "batch"],
        limits: Int[np.ndarray, "batch"],
        penalty: PowerPenalty,
        beam: int,
    ) -> list[list[Hypothesis]]:
        """What `greedy_search` (``beam`` 1) or `beam_search` give: one output for each source,
        none of <pad>, <s> and <unk> in it, and nothing else asked."""
        ...
