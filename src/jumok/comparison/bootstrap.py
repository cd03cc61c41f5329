"""Paired bootstrap: would the difference be the same with other items of the same kind?

Items are drawn with replacement, as many as there are, over and over, and both systems are scored
on each draw (Koehn 2004, "Statistical significance tests for machine translation evaluation",
EMNLP). Draws, p-value and the bounds of intervals are those of sacrebleu's `PairedTest`, for
every metric; that class itself gives no interval of the difference, and holds all draws in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from jumok.config import LOWER_IS_BETTER
from jumok.metrics import Summed

SIGNIFICANT = 0.05
"""The p-value below which a difference is taken for one, if its interval leaves 0 out as well.

`p_value` alone errs too often: of systems that are equal, it is below 0.05 in about one of
ten. The interval leaves 0 out in one of twenty."""
FEW = 50
"""With fewer items a bootstrap takes chance for certainty, so nobody is called better."""
_AT_ONCE = 4_000_000
"""Drawn items that are held in memory."""


class Estimate(NamedTuple):
    """A figure, and the interval that holds 95 % of its resamples."""

    value: float
    low: float
    high: float


class PairedScore(NamedTuple):
    """One metric of two systems."""

    a: Estimate
    b: Estimate
    difference: Estimate
    """B's minus A's; the interval is that of the difference itself."""
    p: float
    """See `p_value`."""
    a_wins: int
    """Resamples in which A is better. Koehn's p-value is the share that the better one lost."""
    b_wins: int
    better: Literal["a", "b"] | None
    """None where the difference may be chance: see `SIGNIFICANT` and `FEW`."""


def paired_scores(
    a: Mapping[str, Summed],
    b: Mapping[str, Summed],
    resamples: int,
    seed: int,
    items: Sequence[int] | None = None,
) -> dict[str, PairedScore]:
    """Every metric, all on the same draws; of ``items`` alone where they are given."""
    sides = [_rows(side, items) for side in (a, b)]
    draws = _resample(sides, resamples, seed)
    found, start = {}, 0
    for name in a:
        end = start + len(a[name].rows[0])
        columns = slice(start, end)
        values, scores = [], []
        for summed, rows, sums in zip((a[name], b[name]), sides, draws, strict=True):
            values.append(summed.score(rows[:, columns].sum(axis=0).tolist()))
            scores.append(np.array([summed.score(s) for s in sums[:, columns].tolist()]))
        found[name] = _compare(name, values, scores, len(sides[0]))
        start = end
    return found


def p_value(differences: Float[np.ndarray, " resamples"], observed: float) -> float:
    """How often chance alone makes a difference as large as the one ``observed``.

    p = (#{|d| - mean |d| >= |observed|} + 1) / (resamples + 1), over the resamples' differences d.
    So sacrebleu has it, with > for >=: that would give two equal systems the smallest p there is,
    and they get 1. Koehn has another: the share of resamples that the better system does not win.
    """
    sizes = np.abs(differences)
    extreme = int((sizes - sizes.mean() >= abs(observed)).sum())
    return (extreme + 1) / (len(sizes) + 1)


def _rows(
    side: Mapping[str, Summed], items: Sequence[int] | None
) -> Float[np.ndarray, "items figures"]:
    """The rows of all metrics, beside each other."""
    rows = np.hstack([np.array(summed.rows, dtype=np.float64) for summed in side.values()])
    return rows if items is None else rows[list(items)]


def _resample(
    sides: Sequence[Float[np.ndarray, "items figures"]], resamples: int, seed: int
) -> list[Float[np.ndarray, "resamples figures"]]:
    """Sums over drawn items, the same items for all sides."""
    chance = np.random.default_rng(seed)
    items = len(sides[0])
    at_once = max(1, _AT_ONCE // items)
    sums: list[list[np.ndarray]] = [[] for _ in sides]
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = chance.choice(items, size=(count, items), replace=True)
        drawn += items * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * items).reshape(count, items)
        # a product for each side, so that equal sides get equal sums, down to the last bit
        for rows, found in zip(sides, sums, strict=True):
            found.append(times.astype(np.float64) @ rows)
    return [np.concatenate(found) for found in sums]


def _compare(
    name: str,
    values: Sequence[float],
    scores: Sequence[Float[np.ndarray, " resamples"]],
    items: int,
) -> PairedScore:
    differences, observed = scores[1] - scores[0], values[1] - values[0]
    difference = _estimate(observed, differences)
    p = p_value(differences, observed)
    sign = -1 if name in LOWER_IS_BETTER else 1
    told = items >= FEW and p < SIGNIFICANT and not difference.low <= 0 <= difference.high
    return PairedScore(
        _estimate(values[0], scores[0]),
        _estimate(values[1], scores[1]),
        difference,
        p,
        int((sign * differences < 0).sum()),
        int((sign * differences > 0).sum()),
        ("b" if sign * observed > 0 else "a") if told else None,
    )


def _estimate(value: float, scores: Float[np.ndarray, " resamples"]) -> Estimate:
    ordered = np.sort(scores)
    cut = len(ordered) // 40
    return Estimate(value, float(ordered[cut]), float(ordered[-cut - 1]))
