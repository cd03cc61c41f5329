"""One scale of blue for every renderer, from paper to ink, or from night to light.

A single hue in even steps of lightness: readable by the colour-blind, and still in order when
printed in grey.
"""

from __future__ import annotations

from itertools import pairwise

RGB = tuple[int, int, int]

LIGHT: tuple[RGB, ...] = (
    (242, 245, 250),
    (198, 217, 240),
    (131, 173, 222),
    (58, 116, 187),
    (11, 46, 110),
)
"""Colours of the weights 0, 1/4, 1/2, 3/4, 1 on a light page."""
DARK: tuple[RGB, ...] = (
    (28, 36, 52),
    (28, 63, 110),
    (38, 106, 176),
    (96, 165, 232),
    (219, 238, 255),
)
"""The same on a dark page."""

LEVELS = 50
"""Steps of the scale that pages and drawings use: 2 % each."""


def level(weight: float) -> int:
    """Step of a weight, from 0 to `LEVELS`."""
    return round(100 * min(max(weight, 0.0), 1.0)) // 2


def colour(weight: float, stops: tuple[RGB, ...] = LIGHT) -> RGB:
    """Colour of a weight from 0 to 1: a straight line between the nearest two stops."""
    place = min(max(weight, 0.0), 1.0) * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    low, high = list(pairwise(stops))[index]
    red, green, blue = (
        round(a + (b - a) * (place - index)) for a, b in zip(low, high, strict=True)
    )
    return red, green, blue


def hex_colour(rgb: RGB) -> str:
    """``(11, 46, 110)`` as ``#0b2e6e``."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def ink_on(background: RGB) -> RGB:
    """Text colour that stands out from ``background``: black or white.

    The two have the same contrast ratio (WCAG 2.2) at the relative luminance 0.179, and the better
    of them has 4.5 or more everywhere.
    """
    channels = [c / 255 for c in background]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)
