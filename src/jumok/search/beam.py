"""Batched beam search over any step function, with the attention of every hypothesis.

Sutskever et al. 2014, section 3.2: keep the ``beam`` best partial hypotheses; "as soon as the
<EOS> symbol is appended to a hypothesis, it is removed from the beam and is added to the set of
complete hypotheses". So the beam of a source shrinks by one with each complete hypothesis, a beam
of 1 is greedy search, and a beam as wide as the space is exhaustive search.

A source is done when nothing still alive can overtake its ``n_best`` best complete hypotheses:
log-probabilities only fall, so a live hypothesis with log-probability p ends at best with
p / penalty(longest length allowed).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jumok.search.penalty import LengthPenalty
from jumok.search.step import Evidence, Hypothesis, SearchState, StepFn, forbid
from jumok.text import BOS, EOS


def beam_search(
    step: StepFn,
    state: SearchState,
    max_lengths: Int[np.ndarray, "batch"],
    forbidden: Bool[np.ndarray, "vocab"],
    penalty: LengthPenalty,
    beam: int,
    n_best: int,
) -> list[list[Hypothesis]]:
    """Up to ``n_best`` hypotheses per row of ``state``, best first.

    Complete hypotheses come before ones that were cut at ``max_lengths`` (EOS counted).
    """
    batch = len(max_lengths)
    live = _Live(np.arange(batch), np.zeros(batch), np.full(batch, BOS))
    done = [_Done() for _ in range(batch)]
    history: list[_Trace] = []
    while len(live.source):
        result = step(live.token, state)
        trace = _Trace(result.evidence)
        history.append(trace)
        room = beam - np.array([len(d.entries) for d in done])
        best = _best_candidates(live, forbid(result.log_probs, forbidden), room)
        last = len(history) == max_lengths[best.source]
        for i in np.flatnonzero((best.token == EOS) | last):
            score = float(best.total[i] / penalty(np.array(len(history))))
            entry = _Entry(len(history) - 1, best.parent[i], best.token[i], best.log_prob[i], score)
            done[best.source[i]].entries.append(entry)
        going = (best.token != EOS) & ~last
        ceiling = best.total / penalty(max_lengths[best.source])
        going &= ~_settled(done, best.source, ceiling, going, n_best)
        keep = np.flatnonzero(going)
        trace.keep(best, keep)
        state = result.state.select(best.parent[keep])
        live = _Live(best.source[keep], best.total[keep], best.token[keep])
    return [_finish(d, history, n_best) for d in done]


class _Live(NamedTuple):
    """The partial hypotheses, rows of one source side by side."""

    source: Int[np.ndarray, "rows"]
    total: Float[np.ndarray, "rows"]
    token: Int[np.ndarray, "rows"]


class _Candidates(NamedTuple):
    """Continuations that were chosen; ``parent`` is a row of the step they continue."""

    source: Int[np.ndarray, "rows"]
    parent: Int[np.ndarray, "rows"]
    token: Int[np.ndarray, "rows"]
    log_prob: Float[np.ndarray, "rows"]
    total: Float[np.ndarray, "rows"]


class _Entry(NamedTuple):
    """A complete hypothesis: its last token and where the rest is to be found."""

    step: int
    parent: int
    token: int
    log_prob: float
    score: float


@dataclass
class _Done:
    entries: list[_Entry] = field(default_factory=list)


@dataclass
class _Trace:
    """One step's evidence (a row per live hypothesis) and what became its successors."""

    evidence: Evidence
    parent: np.ndarray = field(init=False)
    token: np.ndarray = field(init=False)
    log_prob: np.ndarray = field(init=False)

    def keep(self, best: _Candidates, rows: np.ndarray) -> None:
        self.parent, self.token = best.parent[rows], best.token[rows]
        self.log_prob = best.log_prob[rows]


def _best_candidates(
    live: _Live, log_probs: Float[np.ndarray, "rows vocab"], room: Int[np.ndarray, "batch"]
) -> _Candidates:
    """The ``room[source]`` best continuations of every source, best first."""
    rows, vocab = log_probs.shape
    width = min(int(room.max()), vocab)
    # no source can take more than `width` continuations of one row
    top = np.argpartition(log_probs, vocab - width, axis=1)[:, vocab - width :]
    parent = np.repeat(np.arange(rows), width)
    token = top.ravel()
    log_prob = log_probs[parent, token]
    source = live.source[parent]
    total = live.total[parent] + log_prob
    order = np.lexsort((token, parent, -total, source))
    ordered = source[order]
    first = np.searchsorted(ordered, ordered)  # where this source's candidates begin
    rank = np.arange(len(order)) - first
    order = order[(rank < room[ordered]) & np.isfinite(total[order])]
    return _Candidates(source[order], parent[order], token[order], log_prob[order], total[order])


def _settled(
    done: list[_Done],
    source: Int[np.ndarray, "rows"],
    ceiling: Float[np.ndarray, "rows"],
    going: Bool[np.ndarray, "rows"],
    n_best: int,
) -> Bool[np.ndarray, "rows"]:
    """Rows of sources whose live hypotheses can no longer enter the ``n_best``."""
    settled = np.zeros(len(source), dtype=bool)
    for which in np.unique(source[going]):
        scores = sorted((e.score for e in done[which].entries if e.token == EOS), reverse=True)
        rows = going & (source == which)
        if len(scores) >= n_best and scores[n_best - 1] >= ceiling[rows].max():
            settled |= rows
    return settled


def _finish(done: _Done, history: list[_Trace], n_best: int) -> list[Hypothesis]:
    ranked = sorted(done.entries, key=lambda e: (e.token != EOS, -e.score))
    return [_walk_back(entry, history) for entry in ranked[:n_best]]


def _walk_back(entry: _Entry, history: list[_Trace]) -> Hypothesis:
    tokens, log_probs, rows = [entry.token], [entry.log_prob], [entry.parent]
    for trace in reversed(history[: entry.step]):
        row = rows[-1]
        tokens.append(trace.token[row])
        log_probs.append(trace.log_prob[row])
        rows.append(trace.parent[row])
    steps = zip(history[: entry.step + 1], reversed(rows), strict=True)
    return Hypothesis(
        np.array(tokens[::-1]),
        np.array(log_probs[::-1]),
        Evidence.join([trace.evidence.row(int(row)) for trace, row in steps]),
        entry.score,
        bool(entry.token == EOS),
    )
