"""Attention between characters or words, out of attention between the tokens of a model."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import tokenizers as hf
from jaxtyping import Int

from jumok.explain.attention_map import AttentionMap
from jumok.text.normal import normalise

Units = Literal["token", "character", "word"]
"""What a text is made of: a model's tokens, characters as people count them (a letter with its
marks, the letters of a Hangul syllable, a joined emoji), or words between white space."""
Span = tuple[int, int]

# also a mark behind a control, which are one to `text.normal.spans`: offsets may not cut them
_CLUSTERS = hf.pre_tokenizers.Split(hf.Regex(r"\X\p{M}*"), "isolated")


class Grouping(NamedTuple):
    """The units of one text."""

    spans: list[Span]
    """Each unit's (start, end) in the text."""
    of_token: list[int]
    """The unit that each token belongs to."""


def group(text: str, offsets: Sequence[Span], units: Units) -> Grouping:
    """The units of ``text``, where tokens lie at ``offsets``.

    No token is cut: one that covers several characters or words makes one unit of them. White space
    between words, and a `▁` that stands for none, belong to the unit after them, or at the end to
    the one before. What no token covers, a separator, is no unit.
    """
    if units == "token":
        return Grouping(list(offsets), list(range(len(offsets))))
    if units == "word":
        parts = [match.span() for match in re.finditer(r"\S+", text)]
    else:
        parts = _characters(text)
    parts = parts or [(0, len(text))]
    starts, ends = [start for start, _ in parts], [end for _, end in parts]
    reach = []  # the first and the last part that each token touches
    for start, end in offsets:
        first = min(bisect_right(ends, start), len(parts) - 1)
        reach.append((first, max(bisect_left(starts, end) - 1, first)))
    joined = {part for first, last in reach for part in range(first, last)}  # with the next part
    unit_of_part = np.cumsum([part > 0 and part - 1 not in joined for part in range(len(parts))])
    touched, of_token = np.unique([unit_of_part[first] for first, _ in reach], return_inverse=True)
    bounds = [np.flatnonzero(unit_of_part == unit) for unit in touched]
    return Grouping(
        [(starts[members[0]], ends[members[-1]]) for members in bounds], of_token.tolist()
    )


def merge(
    attention: AttentionMap,
    source_offsets: Sequence[Span],
    target_offsets: Sequence[Span],
    units: Units,
) -> AttentionMap:
    """The same attention between units.

    Attention to a unit is the sum over its tokens, attention from a unit the mean over its tokens,
    so that rows keep their sum (Clark et al. 2019, section 4.1: words of BERT's subwords). The
    log-probability of a unit is the sum over its tokens. The end of a text is a unit by itself.

    ``source_offsets``, ``target_offsets``: (start, end) of each token but the end, in the map's
    texts. Raises `ValueError` where there are too few or too many.
    """
    if units == "token":
        return attention
    sources, of_source = _units(
        attention.source_text, attention.source_tokens, source_offsets, units
    )
    targets, of_target = _units(
        attention.target_text, attention.target_tokens, target_offsets, units
    )
    weights = np.zeros((len(targets), len(sources)))
    np.add.at(weights, (of_target[:, None], of_source[None, :]), attention.weights)
    log_probs = attention.token_log_probs
    if log_probs is not None:
        log_probs = np.bincount(of_target, log_probs, minlength=len(targets)).tolist()
    return replace(
        attention,
        source_tokens=sources,
        target_tokens=targets,
        weights=weights / np.bincount(of_target)[:, None],
        token_log_probs=log_probs,
    )


def _characters(text: str) -> list[Span]:
    """Where the grapheme clusters of ``text`` lie (Unicode Standard Annex 29)."""
    whole = text.encode("utf-8", "replace").decode()  # it takes no half of a surrogate pair
    return [span for _, span in _CLUSTERS.pre_tokenize_str(whole)]


def _units(
    text: str, tokens: Sequence[str], offsets: Sequence[Span], units: Units
) -> tuple[list[str], Int[np.ndarray, "tokens"]]:
    """The text of each unit, and the unit of each token."""
    end = list(tokens[len(offsets) :])
    if len(end) > 1 or len(offsets) > len(tokens):
        raise ValueError(
            f"There must be an offset for each of {len(tokens)} tokens, or all but the end, but "
            f"{len(offsets)} came"
        )
    found = group(text, offsets, units)
    names = [normalise(text[start:stop], "NFC") for start, stop in found.spans]
    return names + end, np.array([*found.of_token, *(len(names) for _ in end)], dtype=np.int64)
