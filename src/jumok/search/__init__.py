"""Searches over step functions: greedy, beam, forced. In NumPy; knows no concrete model."""

from jumok.search.beam import beam_search
from jumok.search.forced import forced_search
from jumok.search.greedy import greedy_search
from jumok.search.penalty import LengthPenalty, length_penalty
from jumok.search.step import Evidence, Hypothesis, SearchState, Step, StepFn

__all__ = [
    "Evidence",
    "Hypothesis",
    "LengthPenalty",
    "SearchState",
    "Step",
    "StepFn",
    "beam_search",
    "forced_search",
    "greedy_search",
    "length_penalty",
]
