"""Items in groups: by the length of the source, and by how rare the training pairs have it.

Both are counted in words between spaces, or in characters where words would put nearly all items
into one bucket: words of a dictionary, or texts without spaces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from jumok.metrics import nfc

Units = Literal["word", "character"]

_LENGTHS = 5
"""Buckets of lengths, of as many items each as may be."""
_FREQUENCIES = (0, 1, 4, 9, 99)
"""Highest count of each bucket but the last."""
_NEARLY_ALL = 0.9


class Bucket(NamedTuple):
    """Items whose figure is from ``low`` to ``high``, or has no upper bound."""

    low: int
    high: int | None
    items: list[int]

    @property
    def label(self) -> str:
        """The bounds: 3, 2-4, 100+."""
        if self.high is None:
            return f"{self.low}+"
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


class Grouping(NamedTuple):
    """All items, each in one bucket; buckets without any are left out."""

    by: Literal["length", "frequency"]
    units: Units
    buckets: list[Bucket]


def by_length(sources: Sequence[str]) -> Grouping:
    """Words or characters (without spaces) of a source, in buckets of about equal size."""

    def group(units: Units) -> list[Bucket]:
        lengths = [len(_cut(source, units)) for source in sources]
        parts = np.arange(1, _LENGTHS + 1) / _LENGTHS
        highest = np.quantile(lengths, parts, method="inverted_cdf")
        return _group(lengths, sorted({int(high) for high in highest}), min(lengths))

    return _grouping("length", group, len(sources))


def by_frequency(sources: Sequence[str], train: Iterable[str]) -> Grouping:
    """How often the sources of ``train`` have the rarest word or character of a source."""
    counts: dict[Units, Counter[str]] = {"word": Counter(), "character": Counter()}
    for text in train:
        for units, counter in counts.items():
            counter.update(_cut(text, units))

    def group(units: Units) -> list[Bucket]:
        rarest = [
            min((counts[units][unit] for unit in _cut(source, units)), default=0)
            for source in sources
        ]
        return _group(rarest, _FREQUENCIES, 0)

    return _grouping("frequency", group, len(sources))


def _cut(text: str, units: Units) -> list[str]:
    words = nfc(text).split()
    return words if units == "word" else list("".join(words))


def _group(figures: Sequence[int], highest: Sequence[int], lowest: int) -> list[Bucket]:
    """Buckets up to each of ``highest``, and one for what is above the last."""
    place = np.searchsorted(highest, figures)
    bounds: list[int | None] = [*highest, None]
    buckets, low = [], lowest
    for number, high in enumerate(bounds):
        items = np.flatnonzero(place == number).tolist()
        if items:
            buckets.append(Bucket(low, high, items))
        low = 0 if high is None else high + 1
    return buckets


def _grouping(
    by: Literal["length", "frequency"], group: Callable[[Units], list[Bucket]], items: int
) -> Grouping:
    words = group("word")
    if max(len(bucket.items) for bucket in words) <= _NEARLY_ALL * items:
        return Grouping(by, "word", words)
    return Grouping(by, "character", group("character"))
