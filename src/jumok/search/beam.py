"""Batched beam search over any step function, with the attention of every hypothesis.

Sutskever et al. 2014, section 3.2: keep the ``beam`` best partial hypotheses; "as soon as the
<EOS> symbol is appended to a hypothesis, it is removed from the beam and is added to the set of
complete hypotheses". So the beam of a source shrinks by one with each complete hypothesis, a beam
of 1 is greedy search, and a beam as wide as the space is exhaustive search.

A beam is done when nothing still alive can overtake its best complete hypotheses, as many as are
wanted: log-probabilities only fall, so a live hypothesis with log-probability p ends at best with
p / penalty(longest length allowed), to which a coverage penalty adds nothing.

**Groups** (diverse beam search, Vijayakumar et al. 2018, algorithm 1, with Hamming diversity): the
beam is divided, and at each step every group, one after the other, finds a token the worse the
more often the groups before it have just chosen it::

    choice = score - diversity * (times chosen at this step)

Differs: what is ranked and reported in the end has no such term in it.

**Banks** (Post & Vilar 2018, section 3): where something is required, the beam is shared out among
hypotheses that have gone equally far towards it. Differs: their banks are of a fixed size and hand
unused places to their neighbours, and take in what each hypothesis needs next; here every token is
considered, and the best of every bank comes first, those further on before the others, then the
second best of each, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jumok.search.history import Ends, History
from jumok.search.step import Hypothesis, SearchState, StepFn
from jumok.search.task import Task, looked
from jumok.text import BOS, EOS

Same = Callable[[Int[np.ndarray, "tgt_len"], int], Hashable]
"""``same(tokens, source)`` is equal for hypotheses of a source of which one is enough."""


def beam_search(
    step: StepFn,
    state: SearchState,
    task: Task,
    beam: int,
    n_best: int = 1,
    groups: int = 1,
    diversity: float = 0.0,
    same: Same = lambda tokens, source: tokens.tobytes(),
) -> list[list[Hypothesis]]:
    """Up to ``n_best`` hypotheses per row of ``state``, best first; no two of them the ``same``.

    Complete hypotheses come before ones that were cut at the longest length. With ``groups``, which
    divide ``beam``, the best of each group come first, then the second best. None for a row for
    which the rules leave nothing.
    """
    batch = len(task.max_lengths)
    cells = batch * groups  # a group of a source has a beam of its own
    live = _Live(
        np.arange(cells),
        np.zeros(cells),
        np.full(cells, BOS),
        np.zeros((cells, 0), dtype=np.int64),
        task.rules.start(batch).repeat(groups, axis=0),
        None,
    )
    if groups > 1:
        state = state.select(np.arange(batch).repeat(groups))
    history, done = History(), _Done(batch, groups, n_best, same)
    while len(live.cell):
        source = live.cell // groups
        result = step(live.token, state)
        ruled = task.rules.apply(result.log_probs, live.written, source, live.guides)
        room = beam // groups - done.count
        levels = task.rules.levels(ruled) if task.rules.leads else None
        best = _choose(live, ruled.scores, room, levels, groups, diversity)
        seen = _seen(live, looked(result.evidence), best.parent) if task.coverage else None
        log_prob = result.log_probs[best.parent, best.token]
        history.add(result.evidence, best.parent, best.token, log_prob)
        guides = task.rules.follow(ruled, best.parent, best.token)
        cell = live.cell[best.parent]
        longest = task.max_lengths[cell // groups]
        eos, last = best.token == EOS, len(history) == longest
        [ended] = np.nonzero(eos | (last & task.rules.accepts(guides)))
        length = np.full(len(ended), len(history))
        ended_seen = None if seen is None else seen[ended]
        score = task.score(best.total[ended], length, cell[ended] // groups, ended_seen)
        done.add(history, cell[ended], ended, score, eos[ended])
        going = ~eos & ~last
        ceiling = best.total / task.penalty(longest)
        keep = np.flatnonzero(going & ~done.settled(cell, ceiling, going))
        history.keep(keep)
        parent = best.parent[keep]
        state = result.state.select(parent)
        live = _Live(
            cell[keep],
            best.total[keep],
            best.token[keep],
            np.hstack([live.written[parent], best.token[keep, None]]),
            guides[keep],
            None if seen is None else seen[keep],
        )
    return done.best(history)


class _Live(NamedTuple):
    """The partial hypotheses, rows of one cell side by side."""

    cell: Int[np.ndarray, "rows"]
    total: Float[np.ndarray, "rows"]
    token: Int[np.ndarray, "rows"]
    written: Int[np.ndarray, "rows tgt_len"]
    guides: Int[np.ndarray, "rows guides"]
    seen: Float[np.ndarray, "rows src_len"] | None


class _Candidates(NamedTuple):
    """Continuations; ``parent`` is a row of the step they continue."""

    parent: Int[np.ndarray, "candidates"]
    token: Int[np.ndarray, "candidates"]
    total: Float[np.ndarray, "candidates"]


def _seen(
    live: _Live, weights: Float[np.ndarray, "rows src_len"] | None, parent: np.ndarray
) -> Float[np.ndarray, "candidates src_len"] | None:
    assert weights is not None, "a coverage penalty needs attention"
    return (weights if live.seen is None else live.seen + weights)[parent]


def _choose(
    live: _Live,
    scores: Float[np.ndarray, "rows tokens"],
    room: Int[np.ndarray, "cells"],
    levels: Int[np.ndarray, "rows tokens"] | None,
    groups: int,
    diversity: float,
) -> _Candidates:
    """The ``room[cell]`` best continuations of every cell, best first."""
    if groups == 1:
        return _best(np.arange(len(live.cell)), live, scores, scores, room, levels)
    chosen = np.zeros((len(room) // groups, scores.shape[1]))
    found = []
    for group in range(groups):
        [rows] = np.nonzero(live.cell % groups == group)
        if len(rows):
            liked = scores[rows] - diversity * chosen[live.cell[rows] // groups]
            found.append(_best(rows, live, scores, liked, room, levels))
            source = live.cell[found[-1].parent] // groups
            np.add.at(chosen, (source, found[-1].token), 1.0)
    return _Candidates(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _best(
    rows: Int[np.ndarray, "some"],
    live: _Live,
    scores: Float[np.ndarray, "rows tokens"],
    liked: Float[np.ndarray, "some tokens"],
    room: Int[np.ndarray, "cells"],
    levels: Int[np.ndarray, "rows tokens"] | None,
) -> _Candidates:
    """The best continuations of some rows, by how they are ``liked``."""
    width = min(int(room[live.cell[rows]].max()), scores.shape[1])
    # no cell can take more than `width` continuations of one row, nor more than that of one level
    if levels is None:
        row, token = _top(liked, width)
    else:
        banks = [
            np.where(levels[rows] == level, liked, -np.inf) for level in np.unique(levels[rows])
        ]
        row, token = np.hstack([_top(bank, width) for bank in banks])
    parent = rows[row]
    preference = live.total[parent] + liked[row, token]
    cell = live.cell[parent]
    if levels is None:
        order = np.lexsort((token, parent, -preference, cell))
    else:
        level = levels[parent, token]
        order = np.lexsort((token, parent, -preference, level, cell))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = _ranks(cell[order], level[order])
        order = np.lexsort((token, parent, -level, rank, cell))
    order = order[_ranks(cell[order]) < room[cell[order]]]
    parent, token = parent[order], token[order]
    return _Candidates(parent, token, live.total[parent] + scores[parent, token])


def _top(
    liked: Float[np.ndarray, "rows tokens"], width: int
) -> tuple[Int[np.ndarray, "found"], Int[np.ndarray, "found"]]:
    """Row and token of the ``width`` best of each row that are possible at all, in no order."""
    rows, tokens = liked.shape
    whole = tokens - tokens % _CHUNK
    if whole > 2 * width * _CHUNK:
        # the best are in the chunks with the highest maxima, which are quickly found
        chunks = liked[:, :whole].reshape(rows, -1, _CHUNK)
        chunk = _highest(chunks.max(axis=2), width)
        inside = np.take_along_axis(chunks, chunk[:, :, None], axis=1).reshape(rows, -1)
        among = np.hstack([inside, liked[:, whole:]])
        place = _highest(among, width)
        ids = (chunk[:, :, None] * _CHUNK + np.arange(_CHUNK)).reshape(rows, -1)
        ids = np.hstack([ids, np.arange(whole, tokens)[None].repeat(rows, axis=0)])
        token = np.take_along_axis(ids, place, axis=1).ravel()
    else:
        token = _highest(liked, width).ravel()
    row = np.arange(rows).repeat(width)
    possible = ~np.isneginf(liked[row, token])
    return row[possible], token[possible]


_CHUNK = 64


def _highest(
    values: Float[np.ndarray, "rows tokens"], width: int
) -> Int[np.ndarray, "rows {width}"]:
    """Where the ``width`` highest of each row are, in no order."""
    return np.argpartition(values, -width, axis=1)[:, -width:]


def _ranks(*keys: Int[np.ndarray, "sorted"]) -> Int[np.ndarray, "sorted"]:
    """Each element's number, from 0, among those with the same keys, which stand side by side."""
    number = np.arange(len(keys[0]))
    new = np.zeros(len(number), dtype=bool)
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return number - np.maximum.accumulate(np.where(new, number, 0))


class _Done:
    """The hypotheses that have ended, by the cell they were found in."""

    def __init__(self, batch: int, groups: int, wanted: int, same: Same) -> None:
        cells = batch * groups
        self.count = np.zeros(cells, dtype=np.int64)
        self._batch, self._groups, self._wanted, self._same = batch, groups, wanted, same
        self._ends = [Ends.none()]
        self._cell = [np.zeros(0, dtype=np.int64)]
        self._complete = [np.zeros(0, dtype=bool)]
        self._known: list[dict[Hashable, float]] = [{} for _ in range(cells)]
        self._least = np.full(cells, -np.inf)

    def add(
        self,
        history: History,
        cell: Int[np.ndarray, "ended"],
        candidate: Int[np.ndarray, "ended"],
        score: Float[np.ndarray, "ended"],
        complete: Bool[np.ndarray, "ended"],
    ) -> None:
        """Add hypotheses that end with candidates of the last step."""
        ends = Ends(np.full(len(cell), len(history) - 1), candidate, score)
        np.add.at(self.count, cell, 1)
        self._ends.append(ends)
        self._cell.append(cell)
        self._complete.append(complete)
        if self._wanted == 1:
            np.maximum.at(self._least, cell[complete], score[complete])
            return
        tokens = history.tokens(ends.pick(complete))
        for where, value, written in zip(cell[complete], score[complete], tokens, strict=True):
            known, key = self._known[where], self._same(written, int(where) // self._groups)
            known[key] = max(float(value), known.get(key, -np.inf))
            if len(known) >= self._wanted:
                self._least[where] = sorted(known.values())[-self._wanted]

    def settled(
        self,
        cell: Int[np.ndarray, "candidates"],
        ceiling: Float[np.ndarray, "candidates"],
        going: Bool[np.ndarray, "candidates"],
    ) -> Bool[np.ndarray, "candidates"]:
        """Candidates of cells that can no longer bring forth anything that is wanted."""
        highest = np.full(len(self.count), -np.inf)
        np.maximum.at(highest, cell[going], ceiling[going])
        return (self._least >= highest)[cell]

    def best(self, history: History) -> list[list[Hypothesis]]:
        """What was found for each source."""
        batch, groups = self._batch, self._groups
        ends, cell = Ends.join(self._ends), np.concatenate(self._cell)
        cut = ~np.concatenate(self._complete)
        order = np.lexsort((-ends.score, cut, cell))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = _ranks(cell[order]) if groups > 1 else 0
        order = np.lexsort((-ends.score, rank, cut, cell // groups))
        tokens = history.tokens(ends)
        chosen: list[list[int]] = [[] for _ in range(batch)]
        known: list[set[Hashable]] = [set() for _ in range(batch)]
        for end in order.tolist():
            source = cell[end] // groups
            key = self._same(tokens[end], int(source))
            if len(chosen[source]) < self._wanted and key not in known[source]:
                known[source].add(key)
                chosen[source].append(end)
        flat = np.array([end for some in chosen for end in some], dtype=np.int64)
        found = iter(history.hypotheses(ends.pick(flat)))
        return [[next(found) for _ in some] for some in chosen]
