"""Who stands beside whom: batches of similar lengths, so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

Indices = Int[np.ndarray, "batch"]

_POOL = 100
"""Batches sorted together: enough for similar lengths, few enough to stay well mixed."""


class BucketSampler:
    """Batches of one epoch as a pure function of (seed, epoch): no state to store or restore.

    The pairs are shuffled, cut into pools of about 100 batches, sorted inside each pool by (target
    length, source length), cut into batches, and the batches are shuffled. Every pair comes exactly
    once an epoch. With ``batch_tokens`` a batch holds as many pairs as fit, counted as pairs x the
    longest side of any of them; a pair that is too long by itself gets a batch of its own.

    With ``weights``, one for each part that ``ends`` bounds, a part's pairs come so many times:
    with 2 twice, with 0.5 half of them, others in every epoch.
    """

    def __init__(
        self,
        source_lengths: Int[np.ndarray, "pairs"],
        target_lengths: Int[np.ndarray, "pairs"],
        batch_size: int,
        batch_tokens: int | None = None,
        seed: int = 1,
        ends: Sequence[int] = (),
        weights: Sequence[float] = (),
    ) -> None:
        self._source, self._target = np.asarray(source_lengths), np.asarray(target_lengths)
        self._longest = np.maximum(self._source, self._target)
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens
        self._seed = seed
        self._ends, self._weights = ends, weights

    @property
    def steps(self) -> int:
        """Batches in an epoch; with ``batch_tokens``, where epochs differ, in the first."""
        if self._batch_tokens is None:
            drawn = pairs_drawn(self._ends, self._weights) if self._weights else len(self._source)
            return -(-drawn // self._batch_size)
        return len(self.batches(0))

    def batches(self, epoch: int) -> list[Indices]:
        """Indices of each batch of ``epoch`` (from 0), in order."""
        random = np.random.default_rng([abs(self._seed), int(self._seed < 0), epoch])
        order = random.permutation(self._drawn(random) if self._weights else len(self._source))
        out: list[Indices] = []
        size = self._pool_size()
        for start in range(0, len(order), size):
            pool = order[start : start + size]
            pool = pool[np.lexsort((self._source[pool], self._target[pool]))]
            out += self._cut(pool)
        return [out[i] for i in random.permutation(len(out))]

    def _drawn(self, random: np.random.Generator) -> Indices:
        """Each part as often as its weight says, a last fraction of it by chance."""
        rows = []
        for start, end, weight in _parts(self._ends, self._weights):
            whole, size = int(weight), end - start
            rows += [np.arange(start, end)] * whole
            left = _times(size, weight) - whole * size
            rows.append(start + random.choice(size, left, replace=False))
        return np.concatenate(rows)

    def _pool_size(self) -> int:
        per_batch = self._batch_size
        if self._batch_tokens is not None and len(self._longest):
            per_batch = int(self._batch_tokens / max(self._longest.mean(), 1))
        return _POOL * max(per_batch, 1)

    def _cut(self, pool: Indices) -> Iterator[Indices]:
        if self._batch_tokens is None:
            cuts = list(range(self._batch_size, len(pool), self._batch_size))
        else:
            cuts = _budget_cuts(self._longest[pool], self._batch_tokens)
        return iter(np.split(pool, cuts))


def pairs_drawn(ends: Sequence[int], weights: Sequence[float]) -> int:
    """Pairs in an epoch, where each part comes as often as its weight says."""
    return sum(_times(end - start, weight) for start, end, weight in _parts(ends, weights))


def _parts(ends: Sequence[int], weights: Sequence[float]) -> Iterator[tuple[int, int, float]]:
    return zip([0, *ends[:-1]], ends, weights, strict=True)


def _times(size: int, weight: float) -> int:
    """How many pairs a part gives to an epoch."""
    return round(size * weight)


def sorted_batches(lengths: Int[np.ndarray, "texts"], batch_size: int) -> list[Indices]:
    """Batches for inference: longest first, so that memory runs out at once or never."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def _budget_cuts(longest: Int[np.ndarray, "pool"], budget: int) -> list[int]:
    """Where to cut a pool so that (pairs x longest side) of every part keeps to ``budget``."""
    cuts: list[int] = []
    start, widest = 0, 0
    for i, length in enumerate(longest.tolist()):
        widest = max(widest, length)
        if i > start and widest * (i - start + 1) > budget:
            cuts.append(i)
            start, widest = i, length
    return cuts
