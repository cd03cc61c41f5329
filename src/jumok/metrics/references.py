"""Several right answers for one source: grouping them, and checking what came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def group_references(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Make one item of all (source, target) pairs with the same source.

    Sources and their references keep the order in which they were first seen; a reference that
    comes twice is kept once. Pronunciation dictionaries list variants this way.
    """
    groups: dict[str, dict[str, None]] = {}
    for source, target in pairs:
        groups.setdefault(source, {})[target] = None
    return list(groups), [list(targets) for targets in groups.values()]


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
