"""Figures that need no n-grams: whole outputs right or wrong, and edit distance.

All texts are compared in Unicode normal form NFC, so that a Hangul syllable typed as its letters
equals the composed one. With several references the nearest one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from jumok.errors import MissingExtra
from jumok.metrics.references import nfc

Counts = list[tuple[int, int]]
"""For each output, what is counted and what it is a share of: edits, of reference tokens."""


def right(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[bool]:
    """Whether each output equals one of its references."""
    return [
        nfc(hypothesis) in map(nfc, refs)
        for hypothesis, refs in zip(hypotheses, references, strict=True)
    ]


def token_error_rate(
    hypotheses: Sequence[Sequence[Hashable]], references: Sequence[Sequence[Sequence[Hashable]]]
) -> float:
    """Edit distance over tokens of any kind, in per cent of the references' tokens."""
    counts = token_edits(hypotheses, references)
    return rate(sum(edits for edits, _ in counts), sum(length for _, length in counts))


def phone_edits(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Counts:
    """Edits and reference tokens of each output."""
    return _edits(hypotheses, references, str.split)


def character_edits(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Counts:
    """Edits and reference characters of each output."""
    return _edits(hypotheses, references, list)


def token_edits(
    hypotheses: Sequence[Sequence[Hashable]], references: Sequence[Sequence[Sequence[Hashable]]]
) -> Counts:
    """Edit distances. The reference taken is the one with the fewest edits; among equals the
    longest, which gives the lower rate. Raises `MissingExtra` without rapidfuzz."""
    try:
        from rapidfuzz.distance import Levenshtein
    except ModuleNotFoundError as error:
        raise MissingExtra("evaluate", error.name or "rapidfuzz") from None

    counts = []
    for output, refs in zip(hypotheses, references, strict=True):
        distances = ((Levenshtein.distance(output, ref), -len(ref)) for ref in refs)
        distance, minus_length = min(distances)
        counts.append((distance, -minus_length))
    return counts


def rate(edits: int | float, length: int | float) -> float:
    """Edits in per cent of reference tokens, all summed, so that a long output weighs more.

    Where every reference is empty the rate is 0 for empty outputs, else 100 (as sacrebleu's TER
    has it).
    """
    if length == 0:
        return 100.0 if edits else 0.0
    return 100.0 * edits / length


def _edits(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    split: Callable[[str], list[str]],
) -> Counts:
    """`token_edits` of texts."""
    return token_edits(
        [split(nfc(hypothesis)) for hypothesis in hypotheses],
        [[split(nfc(ref)) for ref in refs] for refs in references],
    )
