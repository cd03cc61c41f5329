"""What an engine is: a loaded model that starts from sources and then makes steps."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from jumok.search import Hypothesis, PowerPenalty, SearchState, Step

EngineName = Literal["auto", "torch", "onnx", "onnx-int8"]
"""See `jumok.engine.load_engine`."""


class Candidates(NamedTuple):
    """The only tokens that the outputs of a batch may have: a vocabulary of its own.

    A search then numbers tokens by their places here. The special tokens come first, so that their
    ids are what they always are.
    """

    tokens: Int[np.ndarray, "some"]
    """Ids of the target vocabulary, ascending: all that any of the sources has."""
    allowed: Bool[np.ndarray, "batch some"]
    """Which of them each source has. The others have no probability, and a source's own add up to
    1, so that nothing depends on what stands beside it."""


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
        candidates: Candidates | None = None,
    ) -> SearchState:
        """Read the sources (right-padded).

        ``copies``, where tokens can be copied: the id of each in the extended target vocabulary.
        ``candidates``, where none can: tokens are then places in it, in steps and what they give.
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
        candidates: Candidates | None = None,
    ) -> list[list[Hypothesis]]:
        """What `greedy_search` (``beam`` 1) or `beam_search` give: one output for each source,
        none of <pad>, <s> and <unk> in it, and nothing else asked. Tokens are ids of the target
        vocabulary, among candidates too."""
        ...
