"""Several right answers for one source: grouping them, and checking what came."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from jumok.errors import InputError


class Items(NamedTuple):
    """Pairs, those with the same source as one item."""

    sources: list[str]
    """Each as it first came."""
    references: list[list[str]]
    """What stands beside each."""
    places: list[int]
    """Which item each pair belongs to."""

    @contextmanager
    def told_by_pair(self) -> Iterator[None]:
        """Make of the ``index`` of an `InputError`, that of an item, its first pair's."""
        try:
            yield
        except InputError as error:
            if error.index is None:
                raise
            raise InputError(str(error), index=self.places.index(error.index)) from None


def nfc(text: str) -> str:
    """The form in which texts that look the same are the same."""
    return unicodedata.normalize("NFC", text)


def group_references(
    pairs: Iterable[tuple[str, str]], same: Callable[[str], Hashable] = nfc
) -> Items:
    """Make one item of all (source, target) pairs with the same source: where ``same`` is equal.

    Sources and their references keep the order in which they were first seen; a reference that
    comes twice is kept once. Pronunciation dictionaries list variants this way.
    """
    items = Items([], [], [])
    known: dict[Hashable, int] = {}
    for source, target in pairs:
        place = known.setdefault(same(source), len(known))
        if place == len(items.sources):
            items.sources.append(source)
            items.references.append([])
        items.places.append(place)
        items.references[place].append(target)
    return items._replace(references=[list(dict.fromkeys(some)) for some in items.references])


def check_lengths(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise `ValueError` unless there are outputs, each with one reference or more."""
    if isinstance(references, str) or any(isinstance(refs, str) for refs in references):
        raise ValueError("references must be a list of strings for each output, but a string came")
    if not hypotheses:
        raise ValueError("There are no outputs to measure: at least one is needed")
    if len(hypotheses) != len(references):
        raise ValueError(
            f"Each output needs its references, but {len(hypotheses)} outputs and "
            f"{len(references)} lists of references came"
        )
    for number, refs in enumerate(references, start=1):
        if not refs:
            raise ValueError(f"Output {number} has no reference: at least one is needed")
