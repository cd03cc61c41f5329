"""A search with all its options, and a judge of outputs that knows their definitions alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from toy import FORBIDDEN, SPELLING, VOCAB, WORDS, Toy, text, units

from jumok.config import SearchConfig
from jumok.search import (
    Guide,
    Rules,
    Spelling,
    Task,
    avoids,
    begins,
    contains,
    coverage_penalty,
    forbid,
    length_penalty,
    min_length,
    no_repeat_ngram,
    one_of,
    repetition_penalty,
)
from jumok.text import EOS

phrases = st.text(alphabet="ab", min_size=1, max_size=3)


class Asked(NamedTuple):
    """One search."""

    max_lengths: list[int]
    penalty: str = "none"
    alpha: float = 1.0
    coverage: float = 0.0
    least: int = 0
    ngram: int = 0
    repetition: float = 1.0
    required: Sequence[str] = ()
    forbidden: Sequence[str] = ()
    prefixes: list[str] | None = None
    choices: list[str] | None = None

    def task(self, toy: Toy) -> Task:
        """As the search is told."""
        rules = [
            forbid(FORBIDDEN),
            min_length(self.least),
            *([no_repeat_ngram(self.ngram)] if self.ngram else []),
            repetition_penalty(self.repetition),
        ]
        automata = [contains(units(phrase)) for phrase in self.required]
        if self.forbidden:
            automata.append(avoids([units(phrase) for phrase in self.forbidden]))
        if self.prefixes is not None:
            automata.append(begins([units(prefix) for prefix in self.prefixes]))
        guides = [Guide(automaton, SPELLING) for automaton in automata]
        if self.choices is not None:
            ids = {word: i for i, word in WORDS.items()}
            tokens = one_of([[ids[letter] for letter in choice] for choice in self.choices])
            guides.append(Guide(tokens, Spelling(np.arange(VOCAB)[:, None])))
        return Task(
            np.array(self.max_lengths),
            length_penalty(SearchConfig(length_penalty=self.penalty, length_alpha=self.alpha)),
            Rules(rules, guides),
            coverage_penalty(self.coverage, toy.real) if self.coverage else None,
        )

    def allows(self, source: int, tokens: list[int]) -> bool:
        """Whether an output is what was asked for."""
        said, body = text(tokens), [t for t in tokens if t != EOS]
        ngrams = [tuple(body[i : i + self.ngram]) for i in range(len(body) - self.ngram + 1)]
        return (
            (len(body) >= self.least or tokens[-1] != EOS)
            and (not self.ngram or len(set(ngrams)) == len(ngrams))
            and all(phrase in said for phrase in self.required)
            and not any(phrase in said for phrase in self.forbidden)
            and (self.prefixes is None or said.startswith(self.prefixes[source]))
            and (self.choices is None or [WORDS[t] for t in body] in map(list, self.choices))
        )

    def worth(self, toy: Toy, source: int, tokens: list[int]) -> float:
        """The score of an output."""
        total, seen = 0.0, np.zeros(toy.lengths[source])
        for place, token in enumerate(tokens):
            log_probs, weights = toy.at(source, tokens[:place])
            again = token in tokens[:place]
            total += log_probs[token] * (self.repetition if again else 1)
            seen += weights.mean(axis=0)
        length = len(tokens)
        divisor = {
            "none": 1.0,
            "average": length**self.alpha,
            "gnmt": ((5 + length) / 6) ** self.alpha,
        }[self.penalty]
        unseen = sum(math.log(min(max(share, 1e-9), 1.0)) for share in seen)
        return total / divisor + self.coverage * unseen

    def outputs(self, toy: Toy, source: int) -> list[tuple[list[int], float]]:
        """All there are: complete ones, best first, then those cut at the limit."""
        longest = self.max_lengths[source]
        complete = [
            [*body, EOS] for n in range(longest) for body in itertools.product(WORDS, repeat=n)
        ]
        cut = [list(body) for body in itertools.product(WORDS, repeat=longest)]
        found = []
        for some in (complete, cut):
            judged = [(t, self.worth(toy, source, t)) for t in some if self.allows(source, t)]
            found += sorted(judged, key=lambda one: -one[1])
        return found


@st.composite
def searches(draw) -> tuple[Toy, Asked]:
    """Any options together."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    size = len(lengths)
    toy = Toy(draw(st.integers(0, 2**20)), lengths, draw(st.sampled_from([0, 0, 2])))
    each = st.lists(st.text(alphabet="ab", max_size=2), min_size=size, max_size=size)
    return toy, Asked(
        max_lengths=[draw(st.integers(1, 4)) for _ in lengths],
        penalty=draw(st.sampled_from(["none", "average", "gnmt"])),
        alpha=draw(st.sampled_from([0.5, 1.0, 2.0])),
        coverage=draw(st.sampled_from([0.0, 0.0, 0.3, 2.0])),
        least=draw(st.sampled_from([0, 0, 1, 2])),
        ngram=draw(st.sampled_from([0, 0, 1, 2])),
        repetition=draw(st.sampled_from([1.0, 1.0, 1.5])),
        required=draw(st.lists(phrases, max_size=2)),
        forbidden=draw(st.lists(phrases, max_size=2)),
        prefixes=draw(st.one_of(st.none(), each)),
        choices=draw(st.one_of(st.none(), st.none(), st.lists(phrases, min_size=1, max_size=5))),
    )
