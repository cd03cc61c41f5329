"""Hard alignments out of soft ones."""

from __future__ import annotations

from collections.abc import Iterable

from jumok.explain.attention_map import AttentionMap
from jumok.explain.labels import without_end

Link = tuple[int, int]
"""A source and a target position, from 0."""
Links = frozenset[Link]


def links(attention: AttentionMap) -> Links:
    """A link from each target token to its strongest source token.

    The end of either text is left out; a target token whose strongest source token is the end, or
    that has no weight, has no link.
    """
    sources = len(without_end(attention.source_tokens))
    targets = len(without_end(attention.target_tokens))
    return frozenset(
        (best, i)
        for i, best in enumerate(attention.strongest[:targets])
        if best is not None and best < sources
    )


def pharaoh(found: Iterable[Link]) -> str:
    """Links as ``i-j`` (source-target, from 0), in the order of the target.

    The format of Moses, GIZA++ and fast_align.
    """
    ordered = sorted(found, key=lambda link: (link[1], link[0]))
    return " ".join(f"{source}-{target}" for source, target in ordered)
