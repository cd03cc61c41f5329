"""Alignments judged by links that people made: sure ones, and ones that are only possible."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from typing import NamedTuple

Link = tuple[int, int]
"""A source and a target position, from 0."""
_LINK = re.compile(r"(\d+)([-?])(\d+)", re.ASCII)


class GoldLinks(NamedTuple):
    """The links of one pair."""

    sure: frozenset[Link]
    """S: none of these may be missing."""
    possible: frozenset[Link]
    """P: all that may be there, the sure ones among them."""


class AlignmentScores(NamedTuple):
    """Figures in per cent."""

    aer: float
    """Alignment error rate; lower is better."""
    precision: float
    """Links that are possible."""
    recall: float
    """Sure links that were found."""


def read_links(text: str) -> GoldLinks:
    """Links as ``0-0 1?2``: source-target from 0, ``-`` a sure one and ``?`` one that is possible.

    Raises `ValueError` for anything else.
    """
    sure, possible = set(), set()
    for word in text.split():
        match = _LINK.fullmatch(word)
        if match is None:
            raise ValueError(f"Links are written as '0-0 1?2', but '{word:.40}' came")
        link = int(match[1]), int(match[3])
        possible.add(link)
        if match[2] == "-":
            sure.add(link)
    return GoldLinks(frozenset(sure), frozenset(possible))


def alignment_scores(found: Sequence[Set[Link]], gold: Sequence[GoldLinks]) -> AlignmentScores:
    """Judge the links A of all pairs together (Och & Ney 2003, section 5).

    precision = |A ∩ P| / |A|, recall = |A ∩ S| / |S|,
    AER = 1 - (|A ∩ S| + |A ∩ P|) / (|A| + |S|). Where S is empty, the recall is 100; where A is,
    the precision is. Raises `ValueError` where there is no gold link at all, or for another number
    of pairs.
    """
    if len(found) != len(gold):
        raise ValueError(
            f"Each pair needs its gold links, but {len(found)} alignments and {len(gold)} of "
            "gold came"
        )
    if not any(one.possible for one in gold):
        raise ValueError("There are no gold links to judge by: at least one is needed")
    links = sum(map(len, found))
    sure = sum(len(one.sure) for one in gold)
    right = sum(len(a & one.possible) for a, one in zip(found, gold, strict=True))
    hits = sum(len(a & one.sure) for a, one in zip(found, gold, strict=True))
    error = 1 - (hits + right) / (links + sure) if links + sure else 0.0
    return AlignmentScores(
        100 * error, 100 * right / links if links else 100.0, 100 * hits / sure if sure else 100.0
    )
