"""Tokens as a person wants to see them: in a heat map, a table, a terminal.

A jamo tokenizer works on conjoining letters (U+1100..11FF), which fonts join or draw as empty
boxes when they stand alone. Unicode has a second set of Hangul letters made to stand alone, and
the two sets share their names: ``HANGUL CHOSEONG KIYEOK`` is ``HANGUL LETTER KIYEOK``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

_ROLE = re.compile("CHOSEONG|JUNGSEONG|JONGSEONG")
_VISIBLE = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}


def is_syllable(char: str) -> bool:
    """Whether ``char`` is one of the 11,172 precomposed Hangul syllables."""
    return "가" <= char <= "힣"


def display_tokens(tokens: Sequence[str]) -> list[str]:
    """Each token with stand-alone Hangul letters, visible white space, and marks on a circle."""
    return ["".join(map(_display, _seat(token))) for token in tokens]


def _seat(token: str) -> str:
    # a mark without a base, also one that joins on the right, would be drawn on its neighbour
    return f"◌{token}" if token and unicodedata.category(token[0])[0] == "M" else token


@cache
def _display(char: str) -> str:
    if "\u1100" <= char <= "\u11ff":
        try:
            return unicodedata.lookup(_ROLE.sub("LETTER", unicodedata.name(char)))
        except KeyError:  # old letters that have no stand-alone form
            return char
    if char in _VISIBLE:
        return _VISIBLE[char]
    return chr(0x2400 + ord(char)) if char < " " else char
