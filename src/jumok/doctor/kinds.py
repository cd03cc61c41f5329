"""What can be found in files of pairs: a stable name, how much it matters, and what it means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from jumok.data.pairs import close_to
from jumok.errors import ConfigError

Severity = Literal["error", "warning", "note"]


class Kind(NamedTuple):
    """One kind of finding."""

    severity: Severity
    """`error`: wrong; `warning`: hardly ever meant; `note`: good to know, and often as it should
    be."""
    meaning: str


KINDS: dict[str, Kind] = {
    "encoding": Kind("error", "bytes that are no text in this encoding"),
    "bad-line": Kind("error", "not readable as a pair"),
    "empty-side": Kind("error", "source or target is empty"),
    "control-character": Kind("error", "control characters inside"),
    "overlap-pair": Kind("error", "the same pair stands in the training files"),
    "overlap-source": Kind("warning", "its source stands in the training files"),
    "duplicate-pair": Kind("warning", "repeats an earlier pair"),
    "mojibake": Kind("warning", "was decoded wrongly: \ufffd, or Ã© for é"),
    "ratio": Kind("note", "lengths of the sides far out of proportion"),
    "long-source": Kind("note", "source far longer than the others"),
    "long-target": Kind("note", "target far longer than the others"),
    "other-script": Kind("note", "no letter of the scripts its side is in"),
    "mixed-script": Kind("note", "Latin, Greek, Cyrillic letters in a word"),
    "identical-sides": Kind("note", "source and target are the same"),
    "overlap-target": Kind("note", "its target stands in the training files"),
    "duplicate-source": Kind("note", "an earlier source, with another target"),
    "duplicate-target": Kind("note", "an earlier target, with another source"),
    "not-nfc": Kind("note", "not in Unicode NFC, to which jumok brings it"),
    "loose-jamo": Kind("note", "Hangul letters outside a syllable"),
    "width-form": Kind("note", "full-width or half-width characters"),
    "odd-space": Kind("note", "spaces other than the usual one"),
    "extra-space": Kind("note", "spaces at an end, or several in a row"),
    "invisible-character": Kind("note", "characters that nobody sees"),
    "private-character": Kind("note", "characters without a public meaning"),
    "line-break": Kind("note", "a tab or a line's end inside a text"),
    "long-line": Kind("note", "both texts do not fit in a line of TSV"),
}

BITS = {name: 1 << place for place, name in enumerate(KINDS)}
"""Findings of one line are a number: the sum of the bits of their kinds."""

UNREADABLE = BITS["encoding"] | BITS["bad-line"] | BITS["empty-side"]
"""There is no pair in such a line."""

IMPOSSIBLE = UNREADABLE | BITS["line-break"] | BITS["long-line"]
"""No line of a TSV file can be made of it."""

DROPPED = tuple(name for name, kind in KINDS.items() if kind.severity != "note")
"""What `jumok.doctor.clean` leaves out unless it is told otherwise."""


def names_in(flags: int) -> Iterator[str]:
    """The findings in a number."""
    return (name for name, bit in BITS.items() if flags & bit)


def bits_of(names: Iterable[str]) -> int:
    """The number of some findings. Raises `ConfigError` for an unknown one."""
    flags = 0
    for name in names:
        if name not in BITS:
            hint = close_to(name, list(BITS))
            raise ConfigError(f"There is no finding '{name}'.{hint} Findings: {', '.join(BITS)}")
        flags |= BITS[name]
    return flags
