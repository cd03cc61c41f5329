"""Lines unlike the rest of their file: far too long, out of proportion, in another script."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped, UInt8, UInt32

from jumok.doctor.kinds import BITS, bits_of
from jumok.doctor.scan import Columns

FEWEST = 20
"""Among fewer pairs nothing is an outlier."""
OUTLIERS = bits_of(("ratio", "long-source", "long-target", "other-script"))
_REACH = 3.0
_LEAST_SPREAD = np.log(1.25)
_MAIN_SHARE = 0.05


class Limits(NamedTuple):
    """What is still no outlier; None where there are too few pairs to tell."""

    source: float | None
    """Characters."""
    target: float | None
    low_ratio: float | None
    """Characters of the target for each of the source."""
    high_ratio: float | None


def limits(columns: Columns) -> Limits:
    """Tukey's outer fences of logarithms: with quartiles q1 and q3, q3 (q3/q1)^3 above, and for the
    ratio, whose two ends are alike, q1 (q1/q3)^3 below. q3/q1 counts as 1.25 at least.

    Logarithms, as lengths and ratios are skewed; quartiles, as outliers must not move the fence.
    """
    if len(columns.flags) < FEWEST:
        return Limits(None, None, None, None)
    source, target = columns.source_length, columns.target_length
    return Limits(_fences(source)[1], _fences(target)[1], *_fences(target / source))


def find_outliers(columns: Columns) -> UInt32[np.ndarray, "lines"]:
    """Findings of lines by `limits`, and those in a script that their side hardly has."""
    flags = np.zeros(len(columns.flags), np.uint32)
    found = limits(columns)
    if found.source is None:
        return flags
    ratio = columns.target_length / columns.source_length
    flags[columns.source_length > found.source] |= BITS["long-source"]
    flags[columns.target_length > found.target] |= BITS["long-target"]
    flags[(ratio < found.low_ratio) | (ratio > found.high_ratio)] |= BITS["ratio"]
    flags[_foreign(columns.source_script, columns.source_scripts)] |= BITS["other-script"]
    flags[_foreign(columns.target_script, columns.target_scripts)] |= BITS["other-script"]
    return flags


def _fences(values: Shaped[np.ndarray, "lines"]) -> tuple[float, float]:
    low, high = np.log(np.percentile(values, [25, 75]))
    reach = _REACH * max(high - low, _LEAST_SPREAD)
    return _rounded(np.exp(low - reach)), _rounded(np.exp(high + reach))


def _rounded(limit: float) -> float:
    """Without the last digits, which are noise; a ratio may be tiny."""
    return float(f"{limit:.6g}")


def _foreign(
    main: UInt8[np.ndarray, "lines"], every: UInt32[np.ndarray, "lines"]
) -> Bool[np.ndarray, "lines"]:
    """Texts with letters, none of which is of a script that 5 % of the texts are mainly in."""
    counts = np.bincount(main, minlength=1)
    counts[0] = 0  # no letters
    usual = np.flatnonzero(counts >= _MAIN_SHARE * max(1, counts.sum()))
    bits = np.bitwise_or.reduce(np.left_shift(1, np.minimum(usual, 31)), initial=0)
    return (every > 0) & (every & np.uint32(bits) == 0)
