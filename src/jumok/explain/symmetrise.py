"""One alignment out of two: source to target, and target to source.

A model links each target word to one source word at most, so a target word for several source words
is beyond it; a model for the other direction has the opposite fault. The methods of Och & Ney 2003
(section 4) and Koehn et al. 2003 and 2005 keep what the two agree on, and choose from the rest.
"""

from __future__ import annotations

from typing import Literal

from jumok.explain.alignment import Link, Links

Symmetrisation = Literal[
    "intersection", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and"
]

_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def symmetrise(forward: Links, backward: Links, how: Symmetrisation) -> Links:
    """Join the links of two directions, both given as (source, target).

    `intersection`: those in both. `union`: those in either. `grow-diag`: the intersection, and from
    there links of the union that are neighbours (also diagonal ones) of a link and of which at
    least one word has no link yet. `grow-diag-final`: then also the links that are left,
    ``forward`` before ``backward``, of which at least one word has no link;
    `grow-diag-final-and`: of which neither has one. Words are visited in the order of the target,
    then of the source (the English and the foreign words of Koehn et al. 2005).
    """
    if how == "intersection":
        return forward & backward
    if how == "union":
        return forward | backward
    grown = _Growing(forward & backward)
    grown.grow_diag(forward | backward)
    if how != "grow-diag":
        for direction in (forward, backward):
            grown.final(direction, 2 if how == "grow-diag-final-and" else 1)
    return frozenset(grown.links)


class _Growing:
    """Links so far, and the words that have one."""

    def __init__(self, start: Links) -> None:
        self.links: set[Link] = set()
        self._sources: set[int] = set()
        self._targets: set[int] = set()
        for link in start:
            self._add(link)

    def grow_diag(self, union: Links) -> None:
        before = -1
        while before < len(self.links):
            before = len(self.links)
            # in order, as the paper's loops over all pairs of words: a link that is added before
            # its turn has a turn in this round, one that is added after it in the next
            for source, target in _ordered(union):
                if (source, target) in self.links:
                    for down, right in _NEIGHBOURS:
                        near = source + right, target + down
                        if near in union and self._free(near) >= 1:
                            self._add(near)

    def final(self, direction: Links, free: int) -> None:
        for link in _ordered(direction):
            if self._free(link) >= free:
                self._add(link)

    def _free(self, link: Link) -> int:
        """How many of the two words have no link."""
        return (link[0] not in self._sources) + (link[1] not in self._targets)

    def _add(self, link: Link) -> None:
        self.links.add(link)
        self._sources.add(link[0])
        self._targets.add(link[1])


def _ordered(some: Links) -> list[Link]:
    return sorted(some, key=lambda link: (link[1], link[0]))
