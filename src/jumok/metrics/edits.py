"""Figures that need no n-grams: whole outputs right or wrong, and edit distance.

All texts are compared in Unicode normal form NFC, so that a Hangul syllable typed as its letters
equals the composed one. With several references the nearest one counts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Sequence


def exact_match(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Share of outputs that equal one of their references, in per cent."""
    hits = sum(
        _nfc(hypothesis) in map(_nfc, refs)
        for hypothesis, refs in zip(hypotheses, references, strict=True)
    )
    return 100.0 * hits / len(hypotheses)


def word_error_rate(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Share of outputs that equal none of their references, in per cent.

    The convention of grapheme-to-phoneme work, where an output is the pronunciation of one word
    (SIGMORPHON 2020 shared task 1, Gorman et al. 2020). It is not the WER of speech recognition.
    """
    return 100.0 - exact_match(hypotheses, references)


def phone_error_rate(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Edit distance over the tokens between spaces, in per cent of the references' tokens."""
    return _error_rate(hypotheses, references, str.split)


def character_error_rate(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Edit distance over characters (spaces too), in per cent of the references' characters."""
    return _error_rate(hypotheses, references, list)


def _error_rate(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    split: Callable[[str], list[str]],
) -> float:
    """`token_error_rate` of texts.

    Where every reference is empty the rate is 0 for empty outputs, else 100 (as sacrebleu's TER has
    it).
    """
    return token_error_rate(
        [split(_nfc(hypothesis)) for hypothesis in hypotheses],
        [[split(_nfc(ref)) for ref in refs] for refs in references],
    )


def token_error_rate(
    hypotheses: Sequence[Sequence[Hashable]], references: Sequence[Sequence[Sequence[Hashable]]]
) -> float:
    """Edit distance over tokens, in per cent of the references' tokens.

    Micro-average: all edits / all reference tokens, so a long output weighs more. The reference
    taken is the one with the fewest edits; among equals the longest, which gives the lower rate.
    """
    from rapidfuzz.distance import Levenshtein

    edits = length = 0
    for output, refs in zip(hypotheses, references, strict=True):
        distances = ((Levenshtein.distance(output, ref), -len(ref)) for ref in refs)
        distance, minus_length = min(distances)
        edits += distance
        length -= minus_length
    if length == 0:
        return 100.0 if edits else 0.0
    return 100.0 * edits / length


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
