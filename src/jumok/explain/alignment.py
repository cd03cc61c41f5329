"""Hard alignments out of soft ones."""

from __future__ import annotations

from jumok.explain.attention_map import AttentionMap
from jumok.explain.labels import without_end


def pharaoh(attention: AttentionMap) -> str:
    """Links ``i-j`` (source-target, from 0) from each target token to its strongest source token.

    The format of Moses, GIZA++ and fast_align. The end of either text is left out; a target token
    whose strongest source token is the end, or that has no weight, has no link.
    """
    sources = len(without_end(attention.source_tokens))
    targets = len(without_end(attention.target_tokens))
    return " ".join(
        f"{best}-{i}"
        for i, best in enumerate(attention.strongest[:targets])
        if best is not None and best < sources
    )
