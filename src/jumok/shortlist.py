"""Which target tokens a source token becomes, counted by the attention over given pairs.

Jean et al. 2015, section 4.2 (their K and K'), and Devlin 2017, section 4: for each source token
the K target tokens with the highest p(t | s) of a lexical table, and for any source the most
frequent ones. Differs: links are the model's own, from each target token to the source token that
it looks at most when the model is made to write the pair; so p(t | s) is the share of links to s
that come from t.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
from jaxtyping import Int

from jumok.bundle.shortlist import Shortlist
from jumok.errors import DataError, InputError
from jumok.predictor import OF_THE_MODEL, Predictor, check_of_given_texts
from jumok.text import EOS, SPECIALS


class LinkCounts:
    """Links between tokens of pairs, counted.

    Args:
        predictor: a model with attention, or several that decide together.
        search: ``batch_size`` and ``max_source_length``.

    Raises `InputError` for a model without attention, `ConfigError` for another that can have no
    shortlist, and for a setting that is of no use.
    """

    def __init__(self, predictor: Predictor, **search: Any) -> None:
        check_of_given_texts(search)
        predictor.check_can_be_short()
        if not predictor.engine.attends:
            raise InputError(
                "A shortlist is made by attention, but this model was trained with "
                f"model.attention.score={predictor.config.model.attention.score}. Train one with "
                "score general, dot or additive"
            )
        self.pairs = 0
        """Pairs that were counted."""
        self.too_long = 0
        """And those that were not, as their sources have too many tokens."""
        self._predictor, self._search = predictor, {**OF_THE_MODEL, **search}
        self._longest = predictor.settings(search).max_source_length
        self._sources = predictor.source_tokenizer.vocab_size
        self._targets = predictor.engine.target_vocab
        self._frequency = np.zeros(self._targets, dtype=np.int64)
        self._links = np.zeros((2, 0), dtype=np.int64)  # source x targets + target, and how often
        self._fresh: list[Int[np.ndarray, "some"]] = []
        self._waiting = 0

    def add(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Count those of some pairs.

        Raises `InputError`, with the pair's ``index`` and nothing counted, for a text that cannot
        be read.
        """
        read = self._predictor.source_tokenizer.encode_ids([source for source, _ in pairs])
        fits = [len(source) <= self._longest for source in read]
        pairs, read = list(compress(pairs, fits)), list(compress(read, fits))
        written = self._predictor.target_tokenizer.encode_ids([target for _, target in pairs])
        forced = self._predictor.score(pairs, **self._search)
        for source, target, one in zip(read, written, forced, strict=True):
            tokens = np.array([*target, EOS])
            self._frequency += np.bincount(tokens, minlength=self._targets)
            assert one.attention is not None  # models without are refused
            looked_at = np.array([*source, EOS])[one.attention.argmax(axis=1)]
            links = looked_at * self._targets + tokens
            links = links[(one.attention.max(axis=1) > 0) & (tokens >= len(SPECIALS))]
            self._fresh.append(links)
            self._waiting += len(links)
        self.pairs += len(pairs)
        self.too_long += fits.count(False)
        if self._waiting > self._links.shape[1] + 1_000_000:  # so that each is sorted a few times
            self._merge()

    def shortlist(self, most: int, frequent: int) -> Shortlist:
        """For each source token its ``most`` probable target tokens, and the ``frequent`` most
        frequent ones of all; of equals those of lower ids.

        Raises `DataError` where no pair was counted.
        """
        if not self.pairs:
            raise DataError(
                "a shortlist is made of pairs whose sources have at most "
                f"search.max_source_length={self._longest} tokens, but none came, and "
                f"{self.too_long:,} with longer ones. Give others, or raise it"
            )
        self._merge()
        source, target = np.divmod(self._links[0], self._targets)
        order = np.lexsort((target, -self._links[1], source))
        source, target = source[order], target[order]
        first = np.searchsorted(source, source)  # where the entries of each one's source begin
        kept = np.arange(len(source)) - first < most
        indptr = np.searchsorted(source[kept], np.arange(self._sources + 1))
        self._frequency[: len(SPECIALS)] = 0
        by_frequency = np.argsort(-self._frequency, kind="stable")[:frequent]
        there = by_frequency[self._frequency[by_frequency] > 0]
        return Shortlist(indptr, target[kept], there)

    def _merge(self) -> None:
        links = np.concatenate([self._links[0], *self._fresh])
        times = np.concatenate([self._links[1], np.ones(self._waiting, dtype=np.int64)])
        found, which = np.unique(links, return_inverse=True)
        counts = np.zeros(len(found), dtype=np.int64)
        np.add.at(counts, which, times)
        self._links = np.stack([found, counts])
        self._fresh, self._waiting = [], 0
