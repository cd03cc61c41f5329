"""What a phrase and the tokens of an output are both made of, so that one is found in the other.

Kinds `word` and `split`: whole tokens. All others: characters (of `jamo`, letters), in any cut.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jumok.text.normal import Form
from jumok.text.tokenizer import SPACE, SPECIALS, UNK, Tokenizer

_NOTHING = -1
"""After the last unit of a token that has fewer than another."""

_UNKNOWN = -2
"""What an unknown token is written with."""

_NEW = -3
"""A whole token that the vocabulary lacks; the next ones are below."""

_WHOLE = ("word", "split")
"""Kinds of tokenizer whose tokens are units."""


def pieces(tokenizer: Tokenizer, phrase: str) -> Sequence[str]:
    """The units of a phrase, as text: a token or a character each."""
    if tokenizer.kind in _WHOLE:
        return tokenizer.encode(phrase).tokens
    return tokenizer.normalise(phrase)


class Joining(NamedTuple):
    """What may and may not come right after a prefix, in units."""

    barred: list[int]
    """Would change what the prefix ends with."""
    marks: list[int]
    """Stand over the prefix's last letter too, so that the next ones are still right after it."""


class Speller:
    """Numbers for the units of one tokenizer's tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._whole = tokenizer.kind in _WHOLE
        texts = tokenizer.tokens(range(tokenizer.vocab_size))[len(SPECIALS) :]
        self._numbers = {token: number for number, token in enumerate(texts)}
        self._new: dict[str, int] = {}
        self.vocabulary = self.spell([*[""] * len(SPECIALS), *texts])
        """The units of every token, a row each; of the unknown one, a unit that no phrase has."""
        self.vocabulary[UNK, 0] = _UNKNOWN
        self._known = frozenset(np.unique(self.vocabulary).tolist()) - {_NOTHING, _UNKNOWN}

    def for_one_call(self) -> Speller:
        """The same, but tokens that the vocabulary lacks are remembered no longer than this one."""
        other = copy(self)
        other._new = {}
        return other

    @property
    def skipped(self) -> int | None:
        """The unit that is left out at the start of a text: the space before its first word."""
        return ord(" ") if self._tokenizer.kind in ("bpe", "unigram") else None

    @property
    def form(self) -> Form | None:
        """The Unicode normal form that tokens and phrases are in; None for whole tokens, which are
        what they are."""
        if self._whole:
            return None
        return "NFD" if self._tokenizer.kind == "jamo" else "NFC"

    def letters(self, copied: Iterable[str] = ()) -> frozenset[int]:
        """The units that an output can be written with, of ``copied`` tokens too."""
        return self._known.union(unit for token in copied for unit in self._units(token))

    def spell(self, tokens: Sequence[str]) -> Int[np.ndarray, "tokens longest"]:
        """The units of tokens, right-padded."""
        spelt = [self._units(token) for token in tokens]
        found = np.full((len(spelt), max(map(len, spelt), default=0)), _NOTHING, dtype=np.int64)
        for row, units in zip(found, spelt, strict=True):
            row[: len(units)] = units
        return found

    def cut(self, phrase: str) -> list[int]:
        """The units of a phrase; none where it has no letter."""
        found = pieces(self._tokenizer, phrase)
        if self._whole:
            return [unit for token in found for unit in self._units(token)]
        return list(map(ord, found))

    def within(self, phrase: str) -> Int[np.ndarray, "found"]:
        """Ids of all tokens that a phrase, however it is cut, can be made of; of subwords, also of
        those with the space before its first word."""
        units = self.cut(phrase)
        if self.skipped is not None:
            units = [self.skipped, *units]
        longest = self.vocabulary.shape[1]
        padded = np.array([*units, *[_NOTHING] * longest])
        found = np.zeros(len(self.vocabulary), dtype=bool)
        for start in range(len(units)):
            here = self.vocabulary == padded[start : start + longest]
            found |= (here | (self.vocabulary == _NOTHING)).all(axis=1)
        found[: len(SPECIALS)] = False
        return np.flatnonzero(found)

    def joining(self, prefix: str, copied: Sequence[str] = ()) -> Joining:
        """Of the letters, and those of ``copied`` tokens: 지 with a final ㅆ is 짔.

        An unknown one, which may become any, is barred, too.
        """
        if self._tokenizer.kind not in ("char", "jamo") or not prefix:
            return Joining([], [])
        written = unicodedata.normalize("NFC", self._tokenizer.normalise(prefix))
        first = len(written) - 1  # of the last letter with its marks, over which others come
        while first and unicodedata.combining(written[first]):
            first -= 1
        last, barred, marks = written[first:], [_UNKNOWN], []
        for unit in sorted(self.letters(copied)):
            if not unicodedata.normalize("NFC", last + chr(unit)).startswith(last):
                barred.append(unit)
            elif unicodedata.combining(chr(unit)):
                marks.append(unit)
        return Joining(barred, marks)

    def missing(self, phrase: str) -> str | None:
        """The first unit of a phrase that no token has; None where all can be written."""
        both = zip(pieces(self._tokenizer, phrase), self.cut(phrase), strict=True)
        return next((piece for piece, unit in both if unit not in self._known), None)

    def _units(self, token: str) -> list[int]:
        if not token:
            return []
        if self._whole:
            known = self._numbers.get(token)
            return [self._new.setdefault(token, _NEW - len(self._new)) if known is None else known]
        if self._tokenizer.kind in ("bpe", "unigram"):
            token = token.replace(SPACE, " ")
        return list(map(ord, token))
