"""One form for every text, and the way back from its characters to the text as it was typed.

The same word can be typed in several ways that look alike (``é`` or ``e`` + accent, ``가`` or
``ᄀ`` + ``ᅡ``). `normalise` makes them equal; `spans` says where each character came from.

Hugging Face normalisers do the first, but their offsets lose the combining part of a composed
character, so the alignment is made here, where it can be exact.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Literal

Form = Literal["NFC", "NFD"]


def normalise(text: str, form: Form, lowercase: bool = False) -> str:
    """``text`` in normal form ``form``, lower-cased first if asked.

    Canonically equivalent texts give the same result.
    """
    if lowercase:
        text = unicodedata.normalize("NFC", text).lower()
    return unicodedata.normalize(form, text)


def one_line(text: str) -> str:
    """``text`` as a line of a file, or a column of one, where line ends and tabs have no place."""
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def spans(text: str, form: Form, lowercase: bool = False) -> list[tuple[int, int]]:
    """For each character of ``normalise(text, form, lowercase)``, its (start, end) in ``text``.

    Characters that were composed, decomposed or reordered together share one span: the three
    letters of ``각`` all point at the syllable.
    """
    out: list[tuple[int, int]] = []
    for start, end in _segments(text):
        out += [(start, end)] * len(normalise(text[start:end], form, lowercase))
    return out


def _segments(text: str) -> Iterator[tuple[int, int]]:
    """Cut ``text`` into the shortest pieces that normalise independently of each other."""
    composed = unicodedata.is_normalized("NFC", text)
    start = 0
    for i in range(1, len(text)):
        if _is_mark(text[i]) or not (composed or _independent(text[start:i], text[i])):
            continue
        yield start, i
        start = i
    if text:
        yield start, len(text)


def _is_mark(char: str) -> bool:
    # a few Tibetan vowels are marks only by their parts, hence the decomposition
    return unicodedata.combining(unicodedata.normalize("NFD", char)[0]) != 0


def _independent(before: str, char: str) -> bool:
    parts = unicodedata.normalize("NFC", before) + unicodedata.normalize("NFC", char)
    return unicodedata.normalize("NFC", before + char) == parts
