"""Tokens as people may safely see them, in a terminal, a page or a picture.

A token is somebody else's text. It may hold a terminal escape, a character that XML forbids, or
an override of the writing direction; none of these reaches a renderer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from jumok.text import EOS, SPECIALS, display_tokens

END_LABEL = "∎"
"""What stands for the end-of-text token: narrow, so that letters keep narrow columns."""

_BLANKS = "\u115f\u1160\u3164\uffa0\u2800"  # Hangul fillers and a Braille sign without a dot
_JOINERS = "\u200c\u200d"  # they shape Persian, Indic scripts and emoji inside a token
_CONTROL_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "␡"}


def labels(tokens: Sequence[str]) -> list[str]:
    """Return one label per token: Hangul letters that stand alone, space as ``␣``, no controls.

    The end of the text is ``∎``, one cell wide. No label is empty.
    """
    text = without_end(tokens)
    shown = [_without_spaces(visible(t)).strip(_JOINERS) or "·" for t in display_tokens(text)]
    return shown + [END_LABEL] * (len(tokens) - len(text))


def without_end(tokens: Sequence[str]) -> list[str]:
    """The tokens that stand for text. Only the last can be the end; a ``</s>`` before is text."""
    ends = list(tokens[-1:]) == [SPECIALS[EOS]]
    return list(tokens[:-1] if ends else tokens)


def visible(text: str) -> str:
    """Replace what cannot or must not be shown: controls by their pictures, the rest by ``�``."""
    return "".join(map(_visible_char, text.translate(_CONTROL_PICTURES)))


def isolated(text: str) -> str:
    """``text`` in isolates where it runs from the right: an arrow between two such texts turns."""
    turns = any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text)
    return f"\u2068{text}\u2069" if turns else text


def shorten(text: str, cells: int) -> str:
    """Cut ``text`` to ``cells`` terminal cells, ending in ``…`` where something was cut off."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…" if cells > 0 else ""


def _without_spaces(label: str) -> str:
    """Every kind of space as a sign: a label of U+00A0 or U+3000 would be none."""
    return "".join("␣" if unicodedata.category(c) == "Zs" or c in _BLANKS else c for c in label)


def _visible_char(char: str) -> str:
    if char in _JOINERS:
        return char
    # Cc control, Cf format (direction overrides), Cs lone surrogate, Cn unassigned, Zl Zp breaks
    unsafe = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")
    return "\N{REPLACEMENT CHARACTER}" if unsafe else char
