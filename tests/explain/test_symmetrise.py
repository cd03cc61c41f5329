"""Two alignments made one: by hand, and against the published loops over whole matrices.

nltk 3.10's `grow_diag_final_and` is no witness: it looks for words among the keys of a dictionary
of two, "e" and "f", so none ever counts as aligned and the union comes out.
"""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumok.explain import Symmetrisation, symmetrise

METHODS = get_args(Symmetrisation)
GROWN = [how for how in METHODS if how.startswith("grow")]
SIZE = 6
positions = st.integers(0, SIZE - 1)
some_links = st.frozensets(st.tuples(positions, positions), max_size=14)


def links(text: str) -> frozenset:
    return frozenset(tuple(map(int, link.split("-"))) for link in text.split())


def published(forward: frozenset, backward: frozenset, how: str) -> frozenset:
    """Koehn et al. 2005 on matrices: rows are English (target) words, columns foreign (source)."""
    size = 1 + max((max(link) for link in forward | backward), default=0)
    e2f, f2e = np.zeros((2, size, size), dtype=bool)
    for matrix, some in ((e2f, forward), (f2e, backward)):
        for f, e in some:
            matrix[e, f] = True
    union, alignment = e2f | f2e, e2f & f2e
    every = list(itertools.product(range(size), range(size)))
    steps = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    while True:
        before = alignment.copy()
        for e, f in every:
            if alignment[e, f]:
                for de, df in steps:
                    x, y = e + de, f + df
                    if not (0 <= x < size and 0 <= y < size and union[x, y]):
                        continue
                    if not alignment[x].any() or not alignment[:, y].any():
                        alignment[x, y] = True
        if (alignment == before).all():
            break
    both = all if how == "grow-diag-final-and" else any
    for direction in (e2f, f2e) if how != "grow-diag" else ():
        for e, f in every:
            if direction[e, f] and both([not alignment[e].any(), not alignment[:, f].any()]):
                alignment[e, f] = True
    return frozenset((int(f), int(e)) for e, f in np.argwhere(alignment))


@pytest.mark.paper
@pytest.mark.parametrize("how", GROWN)
@given(forward=some_links, backward=some_links)
def test_as_published(how, forward, backward):
    assert symmetrise(forward, backward, how) == published(forward, backward, how)


@given(forward=some_links, backward=some_links)
def test_what_is_in_what(forward, backward):
    found = {how: symmetrise(forward, backward, how) for how in METHODS}
    assert found["intersection"] == frozenset(x for x in forward if x in backward)
    assert found["union"] == frozenset([*forward, *backward])
    for how in GROWN:
        assert found["intersection"] <= found["grow-diag"] <= found[how] <= found["union"]


@pytest.mark.parametrize("how", METHODS)
@given(same=some_links)
def test_where_both_agree_there_is_nothing_to_choose(how, same):
    assert symmetrise(same, same, how) == same


def test_a_sentence_by_hand():
    """michael geht davon aus , dass er im haus bleibt
    michael assumes that he will stay in the house (after Koehn 2010, figure 4.14)"""
    forward = links("0-0 1-1 5-2 6-3 9-4 9-5 7-6 7-7 8-8")  # a German word for each English one
    backward = links("0-0 1-1 2-1 3-1 4-2 5-2 6-3 7-6 8-8 9-5")
    agreed = links("0-0 1-1 5-2 6-3 9-5 7-6 8-8")
    assert symmetrise(forward, backward, "intersection") == agreed
    # davon and aus join geht, the comma joins dass, will joins stay, the joins in: all neighbours
    assert symmetrise(forward, backward, "grow-diag") == forward | backward


@pytest.mark.parametrize(
    ("forward", "backward", "how", "found"),
    [
        # a neighbour needs one word that is free
        ("0-0 1-1 0-1", "0-0 1-1", "grow-diag", "0-0 1-1"),
        ("0-0 0-1", "0-0", "grow-diag", "0-0 0-1"),
        ("0-0 1-0", "0-0", "grow-diag", "0-0 1-0"),
        # growth goes on from what has grown, also backwards, but not over a gap
        ("3-3", "3-3 2-2 1-1", "grow-diag", "3-3 2-2 1-1"),
        ("0-0 2-2", "0-0", "grow-diag", "0-0"),
        # without agreement nothing grows
        ("0-0", "0-1", "grow-diag", ""),
        # the forward direction is asked first
        ("0-0 3-2", "0-0 3-5", "grow-diag-final", "0-0 3-2 3-5"),
        ("0-0 3-2", "0-0 3-5", "grow-diag-final-and", "0-0 3-2"),
        ("0-0 3-5", "0-0 3-2", "grow-diag-final-and", "0-0 3-5"),
        # neither word of the last link is free
        ("0-0 3-2 5-5", "0-0 5-2", "grow-diag-final", "0-0 3-2 5-5"),
        # the target's order comes before the source's: 1-0 fills both words that 0-1 needed
        ("4-4 1-0 0-1 0-0", "4-4", "grow-diag-final-and", "4-4 0-0"),
        ("4-4 2-0 0-1", "4-4 2-1", "grow-diag-final-and", "4-4 2-0 0-1"),
    ],
)
def test_by_hand(forward, backward, how, found):
    assert symmetrise(links(forward), links(backward), how) == links(found)
