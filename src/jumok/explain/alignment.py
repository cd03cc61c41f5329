"""Hard alignments out of soft ones."""

from __future__ import annotations

from collections.abc import Sequence

from jumok.explain.attention_map import AttentionMap

BOUNDARY_TOKENS = frozenset({"<pad>", "<s>", "</s>"})
"""Tokens that stand for no text, so that they are never aligned nor counted."""


def pharaoh(attention: AttentionMap) -> str:
    """Links ``i-j`` (source-target, from 0) from each target token to its strongest source token.

    The format of Moses, GIZA++ and fast_align. Boundary tokens are left out and not counted; a
    target token whose strongest source token is a boundary, or that has no weight, has no link.
    """
    sources = _positions(attention.source_tokens)
    targets = _positions(attention.target_tokens)
    return " ".join(
        f"{sources[best]}-{targets[i]}"
        for i, best in enumerate(attention.strongest)
        if best in sources and i in targets
    )


def _positions(tokens: Sequence[str]) -> dict[int, int]:
    """Map the index of every real token to its place among the real tokens."""
    real = [i for i, token in enumerate(tokens) if token not in BOUNDARY_TOKENS]
    return {index: place for place, index in enumerate(real)}
