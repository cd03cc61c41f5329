"""Which lines say what others have said, by the hashes of their texts."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt32, UInt64

from jumok.doctor.kinds import BITS
from jumok.doctor.scan import Columns


def find_duplicates(columns: Columns) -> UInt32[np.ndarray, "lines"]:
    """Lines that repeat a pair; among the others, those that repeat a source or a target."""
    flags = np.zeros(len(columns.flags), np.uint32)
    again = _again(columns.pair)
    flags[again] |= BITS["duplicate-pair"]
    flags[_again(columns.source) & ~again] |= BITS["duplicate-source"]
    flags[_again(columns.target) & ~again] |= BITS["duplicate-target"]
    return flags


def find_overlap(columns: Columns, others: Columns) -> UInt32[np.ndarray, "lines"]:
    """Lines whose pair, source or target stands among ``others``."""
    flags = np.zeros(len(columns.flags), np.uint32)
    for kind in ("pair", "source", "target"):
        there = np.isin(getattr(columns, kind), getattr(others, kind))
        flags[there] |= BITS[f"overlap-{kind}"]
    return flags


def _again(keys: UInt64[np.ndarray, "lines"]) -> Bool[np.ndarray, "lines"]:
    """Whether each key has come before."""
    found = np.ones(len(keys), bool)
    found[np.unique(keys, return_index=True)[1]] = False
    return found
