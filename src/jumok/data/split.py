"""Hold out a share of the pairs for validation."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Bool, Int, UInt64

from jumok.data.pairs import Pair
from jumok.errors import DataError
from jumok.text.normal import normalise


def source_hash(pair: Pair, lowercase: bool = False) -> int:
    """64 bits by which a source that a model reads the same is known again: in any normal form,
    and where it reads ``lowercase`` alone, in any case."""
    return text_hash(normalise(pair.source or pair.target, "NFC", lowercase))


def text_hash(text: str) -> int:
    """64 bits of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")


def held_out(
    sources: UInt64[np.ndarray, "pairs"], fraction: float, seed: int, have_sources: bool = True
) -> Bool[np.ndarray, "pairs"]:
    """Which pairs with these `source_hash`es are held out: about ``fraction`` of them.

    Pairs with the same source (texts without one: the same text) stay on one side, so nothing that
    is held out was seen in training. The choice depends on the hashes and ``seed`` only. Raises
    `DataError` where one side would be empty.
    """
    _, first, group, sizes = np.unique(
        sources, return_index=True, return_inverse=True, return_counts=True
    )
    if len(first) < 2:
        what, more = ("sources", "pairs") if have_sources else ("texts", "texts")
        raise DataError(
            f"data.dev_fraction={fraction} holds out a part for validation, which needs two "
            f"different {what}, but {len(first)} came. Give more {more}, or a dev file"
        )
    order = np.argsort(first)  # groups as they come in the files
    chosen = _choose(sizes[order], max(1, round(fraction * len(sources))), seed)
    held = np.zeros(len(first), dtype=bool)
    held[order[chosen]] = True
    return held[group]


def _choose(sizes: Int[np.ndarray, "groups"], wanted: int, seed: int) -> list[int]:
    """Whole groups in random order while they fit; never all groups, never none."""
    chosen: list[int] = []
    left = wanted
    for i in np.random.default_rng([abs(seed), int(seed < 0)]).permutation(len(sizes)).tolist():
        if not left or len(chosen) == len(sizes) - 1:
            break
        if sizes[i] <= left:
            chosen.append(i)
            left -= int(sizes[i])
    return chosen or [int(np.argmin(sizes))]
