"""Searches over step functions. In NumPy; knows no concrete model."""

from jumok.search.automaton import (
    Guide,
    Spelling,
    avoids,
    begins,
    contains,
    normal,
    one_of,
)
from jumok.search.beam import beam_search
from jumok.search.forced import forced_search
from jumok.search.greedy import greedy_search
from jumok.search.penalty import (
    CoveragePenalty,
    LengthPenalty,
    PowerPenalty,
    coverage_penalty,
    length_penalty,
)
from jumok.search.rules import (
    Rule,
    Rules,
    forbid,
    min_length,
    no_repeat_ngram,
    repetition_penalty,
)
from jumok.search.sampling import Sampling, sample_search
from jumok.search.step import (
    Evidence,
    Hypothesis,
    SearchState,
    Step,
    StepFn,
    mean_of_heads,
)
from jumok.search.task import Task
from jumok.search.walk import Watch

__all__ = [
    "CoveragePenalty",
    "Evidence",
    "Guide",
    "Hypothesis",
    "LengthPenalty",
    "PowerPenalty",
    "Rule",
    "Rules",
    "Sampling",
    "SearchState",
    "Spelling",
    "Step",
    "StepFn",
    "Task",
    "Watch",
    "avoids",
    "beam_search",
    "begins",
    "contains",
    "coverage_penalty",
    "forbid",
    "forced_search",
    "greedy_search",
    "length_penalty",
    "mean_of_heads",
    "min_length",
    "no_repeat_ngram",
    "normal",
    "one_of",
    "repetition_penalty",
    "sample_search",
]
