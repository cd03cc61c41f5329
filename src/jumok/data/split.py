"""Hold out a share of the pairs for validation."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from jumok.data.readers import Pair
from jumok.errors import DataError


def split_off_dev(
    pairs: Sequence[Pair], fraction: float, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """``pairs`` as (train, dev), with about ``fraction`` of them in dev, in file order.

    Pairs with the same source (texts without one: the same text) stay on one side, so nothing in
    dev was seen in training. The choice
    depends on the pairs and ``seed`` only. Raises `DataError` where one side would be empty.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for i, pair in enumerate(pairs):
        groups[unicodedata.normalize("NFC", pair.source or pair.target)].append(i)
    if len(groups) < 2:
        have_sources = any(pair.source for pair in pairs)
        what, more = ("sources", "pairs") if have_sources else ("texts", "texts")
        raise DataError(
            f"data.dev_fraction={fraction} holds out a part for validation, which needs two "
            f"different {what}, but {len(groups)} came. Give more {more}, or a dev file"
        )
    dev = _choose(list(groups.values()), max(1, round(fraction * len(pairs))), seed)
    return (
        [pair for i, pair in enumerate(pairs) if i not in dev],
        [pair for i, pair in enumerate(pairs) if i in dev],
    )


def _choose(groups: Sequence[Sequence[int]], wanted: int, seed: int) -> set[int]:
    """Whole groups in random order while they fit; never all groups, never none."""
    chosen: list[Sequence[int]] = []
    left = wanted
    for i in np.random.default_rng([abs(seed), int(seed < 0)]).permutation(len(groups)):
        if len(groups[i]) <= left and len(chosen) < len(groups) - 1:
            chosen.append(groups[i])
            left -= len(groups[i])
    return {i for group in chosen or [min(groups, key=len)] for i in group}
