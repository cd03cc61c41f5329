"""What an output must, may not or can only be, as finite automata over the units of its text.

A unit is a whole token or a character, whichever a phrase is made of; it is a number here. An
automaton reads units; a token is the string of its units, so it takes a state to another state or
to nowhere, and is then forbidden. So a phrase of characters is found however it is cut into tokens.

`contains` and `avoids` are Aho & Corasick 1975, section 2 (goto, failure and output functions, with
the failures already followed: their algorithm 4); one phrase alone is Knuth, Morris & Pratt.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jumok.text import EOS

NO_UNIT = -1
"""Fills the spelling of a token that is shorter than the longest."""


class Automaton(NamedTuple):
    """States are numbered from 0; ``-1`` is nowhere.

    ``units`` has in ascending order the numbers it tells apart; all others are one.
    """

    units: Int[np.ndarray, "known"]
    delta: Int[np.ndarray, "states known+1"]
    """The next state for each known unit, and last for any other."""
    accepts: Bool[np.ndarray, "states"]
    """Whether an output may end here."""
    level: Int[np.ndarray, "states"]
    """How much of what is required is there; nothing to reach: zeros."""
    start: Int[np.ndarray, "batch"]
    """The state of each source's output before its first token; one for all where there is one."""


class Spelling(NamedTuple):
    """The units of every token, right-padded with `NO_UNIT`.

    ``extra``: those of the tokens beyond the vocabulary that a source lets be copied.
    """

    vocabulary: Int[np.ndarray, "vocab longest"]
    extra: Int[np.ndarray, "batch more longest"] | None = None


class Guide:
    """An automaton over the tokens of one search."""

    def __init__(self, automaton: Automaton, spelling: Spelling) -> None:
        self._automaton = automaton
        dead = len(automaton.delta)
        delta = np.where(automaton.delta < 0, dead, automaton.delta)
        whole = np.vstack([delta, np.full((1, delta.shape[1]), dead)])
        # a last column for padding, which leads nowhere else
        self._delta = np.hstack([whole, np.arange(dead + 1)[:, None]])
        self._vocabulary = self._classes(spelling.vocabulary)
        self._extra = None if spelling.extra is None else self._classes(spelling.extra)
        self._rows: dict[int, Int[np.ndarray, "vocab"]] = {}

    def start(self, batch: int) -> Int[np.ndarray, "batch"]:
        """The first state of each output."""
        return np.broadcast_to(self._automaton.start, (batch,))

    @property
    def leads(self) -> bool:
        """Whether some states have more of what is required than others."""
        return bool(self._automaton.level.any())

    def level(self, states: Int[np.ndarray, "*rows"]) -> Int[np.ndarray, "*rows"]:
        """How much of what is required is there."""
        return self._automaton.level[states]

    def accepts(self, states: Int[np.ndarray, "*rows"]) -> Bool[np.ndarray, "*rows"]:
        """Whether an output may end there."""
        return self._automaton.accepts[states]

    def next(
        self,
        states: Int[np.ndarray, "rows"],
        source: Int[np.ndarray, "rows"],
        tokens: int,
    ) -> Int[np.ndarray, "rows tokens"]:
        """The state after each token, -1 for one that is forbidden."""
        different, which = np.unique(states, return_inverse=True)
        found = np.stack([self._row(int(state)) for state in different])[which]
        more = tokens - found.shape[1]
        if more <= 0:
            return found
        if self._extra is None:
            return np.pad(found, ((0, 0), (0, more)), constant_values=-1)
        read = self._read(states[:, None], self._extra[source, :more])
        return np.hstack([found, read])

    def _row(self, state: int) -> Int[np.ndarray, "vocab"]:
        """The state after each token of the vocabulary; made when first asked for."""
        if state not in self._rows:
            row = self._read(np.array(state), self._vocabulary)
            row[EOS] = state if self._automaton.accepts[state] else -1
            self._rows[state] = row
        return self._rows[state]

    def _read(
        self, state: Int[np.ndarray, "*#shape"], classes: Int[np.ndarray, "*shape longest"]
    ) -> Int[np.ndarray, "*shape"]:
        now = np.broadcast_to(state, classes.shape[:-1])
        for place in range(classes.shape[-1]):
            now = self._delta[now, classes[..., place]]
        return np.where(now == len(self._delta) - 1, -1, now)

    def _classes(self, units: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        """Columns of delta."""
        known = self._automaton.units
        place = np.searchsorted(known, units)
        is_known = known[np.minimum(place, len(known) - 1)] == units if len(known) else False
        found = np.where(is_known, place, len(known))
        return np.where(units == NO_UNIT, len(known) + 1, found)


def contains(phrase: Sequence[int], skip: int | None = None) -> Automaton:
    """Outputs in which the phrase occurs. ``skip`` is a unit that does not count as the first."""
    found = _aho_corasick([phrase])
    states = np.arange(len(found.delta))
    delta = found.delta.copy()
    delta[found.hit] = states[found.hit, None]  # once there, it stays
    return _start(Automaton(found.units, delta, found.hit, found.depth, np.zeros(1, int)), skip)


def avoids(phrases: Sequence[Sequence[int]], skip: int | None = None) -> Automaton:
    """Outputs in which none of the phrases occurs."""
    found = _aho_corasick(phrases)
    delta = np.where(found.hit[found.delta], -1, found.delta)
    every = np.ones(len(delta), dtype=bool)
    nothing = np.zeros(len(delta), dtype=np.int64)
    return _start(Automaton(found.units, delta, every, nothing, np.zeros(1, int)), skip)


def begins(
    prefixes: Sequence[Sequence[int]],
    skip: int | None = None,
    barred: Sequence[Sequence[int]] | None = None,
    marks: Sequence[Sequence[int]] | None = None,
) -> Automaton:
    """Outputs that begin with each source's prefix.

    ``barred`` are units that may not come right after it, because it would no longer be there;
    ``marks`` such after which they may come no more than before.
    """
    barred = [[] for _ in prefixes] if barred is None else barred
    marks = [[] for _ in prefixes] if marks is None else marks
    known = [unit for some in (*prefixes, *barred, *marks) for unit in some]
    units = np.unique(np.array(known, dtype=np.int64))
    states = 1 + len(prefixes) + sum(map(len, prefixes))  # 0 is where anything may follow
    delta, accepts = np.full((states, len(units) + 1), -1), np.zeros(states, dtype=bool)
    delta[0], accepts[0] = 0, True
    first, start = 1, []
    for prefix, never, over in zip(prefixes, barred, marks, strict=True):
        start.append(first)
        for state, unit in enumerate(prefix, start=first):
            delta[state, np.searchsorted(units, unit)] = state + 1
        end = first + len(prefix)
        delta[end], accepts[end] = 0, True
        delta[end, np.searchsorted(units, np.array(never, dtype=np.int64))] = -1
        delta[end, np.searchsorted(units, np.array(over, dtype=np.int64))] = end
        first = end + 1
    nothing = np.zeros(states, dtype=np.int64)
    return _start(Automaton(units, delta, accepts, nothing, np.array(start)), skip)


def one_of(outputs: Sequence[Sequence[int]]) -> Automaton:
    """Outputs that are one of these, from the first unit to the last: a prefix tree."""
    trie = _Trie(outputs)
    nothing = np.zeros(len(trie.delta), dtype=np.int64)
    return Automaton(trie.units, trie.delta, trie.ends, nothing, np.zeros(1, dtype=np.int64))


def normal(letters: Iterable[int], form: Literal["NFC", "NFD"]) -> Automaton | None:
    """Outputs in a Unicode normal form, of units that are code points; None where all outputs of
    these letters are.

    What a letter does to a text in normal form goes by the last letter that is no mark, and by the
    mark at the end (Unicode Standard, D115: what blocks a mark, and D109: the order of marks).
    """
    every = set(map(chr, letters))
    joining = {char for char in every if _joins(char)}
    if not joining:
        return None

    def fits(text: str) -> bool:
        return unicodedata.is_normalized(form, text)

    changed = {c for c in every if not all(fits(c + mark) for mark in joining)}
    known = sorted(joining | changed)
    states, delta = {"": 0}, []
    for text in (waiting := [""]):
        row = []
        for char in known:
            if not fits(text + char):
                row.append(-1)
                continue
            base = text[:1] if unicodedata.combining(char) else ""
            if base not in changed or unicodedata.combining(base):
                base = ""
            after = base + char
            if after not in states:
                states[after] = len(states)
                waiting.append(after)
            row.append(states[after])
        delta.append([*row, 0])
    nothing = np.zeros(len(states), dtype=np.int64)
    every_state = np.ones(len(states), dtype=bool)
    units = np.array([ord(char) for char in known], dtype=np.int64)
    return Automaton(units, np.array(delta), every_state, nothing, np.zeros(1, dtype=np.int64))


def _joins(char: str) -> bool:
    """Whether a letter can become one with what is before it, or change places with it: marks, and
    the second and third letters of Hangul syllables."""
    return unicodedata.category(char).startswith("M") or "\u1160" <= char <= "\u11ff"


class _Trie:
    """The phrases' common beginnings as states; state 0 is empty."""

    def __init__(self, phrases: Sequence[Sequence[int]]) -> None:
        self.units = np.unique(np.array([u for phrase in phrases for u in phrase], dtype=np.int64))
        size = 1 + sum(map(len, phrases))
        delta = np.full((size, len(self.units) + 1), -1)
        depth, ends = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=bool)
        used = 1
        for phrase in phrases:
            state = 0
            for column in np.searchsorted(self.units, np.array(phrase, dtype=np.int64)):
                if delta[state, column] < 0:
                    delta[state, column] = used
                    depth[used] = depth[state] + 1
                    used += 1
                state = delta[state, column]
            ends[state] = True
        self.delta, self.depth, self.ends = delta[:used], depth[:used], ends[:used]


class _Found(NamedTuple):
    units: Int[np.ndarray, "known"]
    delta: Int[np.ndarray, "states known+1"]
    depth: Int[np.ndarray, "states"]
    hit: Bool[np.ndarray, "states"]


def _aho_corasick(phrases: Sequence[Sequence[int]]) -> _Found:
    """For every state and unit, the longest beginning of a phrase that the text now ends with."""
    assert all(map(len, phrases)), "an empty phrase is in every text"
    trie = _Trie(phrases)
    delta, hit = trie.delta.tolist(), trie.ends.tolist()  # cell by cell thrice as fast
    failure = [0] * len(delta)
    nothing = [0] * (len(trie.units) + 1)
    waiting = deque([0])
    while waiting:
        state = waiting.popleft()
        row, below = delta[state], nothing if state == 0 else delta[failure[state]]
        for column, (child, otherwise) in enumerate(zip(row, below, strict=True)):
            if child < 0:
                row[column] = otherwise
            else:
                failure[child] = otherwise
                hit[child] |= hit[otherwise]
                waiting.append(child)
    return _Found(trie.units, np.array(delta), trie.depth, np.array(hit))


def _start(automaton: Automaton, skip: int | None) -> Automaton:
    """With states of their own for outputs in which nothing stands yet, if a unit is skipped there:
    the space before the first word of subwords."""
    if skip is None:
        return automaton
    units, delta, accepts, level, start = automaton
    if skip not in units:
        place = int(np.searchsorted(units, skip))
        units = np.insert(units, place, skip)
        delta = np.insert(delta, place, delta[:, -1], axis=1)
    column = int(np.searchsorted(units, skip))
    first = delta[start].copy()
    first[:, column] = start
    again = np.arange(len(start)) + len(delta)
    return Automaton(
        units,
        np.vstack([delta, first]),
        np.append(accepts, accepts[start]),
        np.append(level, level[start]),
        again,
    )
