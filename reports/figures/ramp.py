"""Colours for amounts: one hue from pale to dark, in equal steps of lightness.

Lightness is OKLab's (Ottosson, A perceptual color space for image processing, 2020), in which equal
steps look equal. Order is in the lightness alone, so that it holds for every kind of colour vision and
on paper without colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

LEVELS = 24  # steps of a ramp: finer ones cannot be told apart side by side
PALE, DARK = 0.945, 0.36  # lightness of the ends
CHROMA = 0.115  # at the middle; less towards the ends, as a screen's colours allow
HUES = {"blue": 247.0, "green": 168.0}  # degrees
REACH = 2.0  # a ramp ends at this factor from the median: what lies beyond has the end's colour
FLAT = 0.8  # a ramp begins at this share of its end or below: noise is not blown up

Array = NDArray[np.float64]

_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_RGB = np.array(
    [[4.0767416621, -3.3077115913, 0.2309699292], [-1.2684380046, 2.6097574011, -0.3413193965],
     [-0.0041960863, -0.7034186147, 1.7076147010]]
)  # fmt: skip


@dataclass(frozen=True)
class Ramp:
    """Colours from low to high, pale to dark; below, above: values lie beyond that end."""

    colours: tuple[str, ...]
    low: float
    high: float
    below: bool
    above: bool

    def levels(self, values: Array) -> NDArray[np.intp]:
        """Which colour each value has; values must not be NaN."""
        part = (values - self.low) / (self.high - self.low)
        return (part * LEVELS).clip(0, LEVELS - 1).astype(np.intp)


def ramp(values: Array, hue: str) -> Ramp:
    """A ramp of that hue ('blue', 'green') for positive values of any shape."""
    least, middle, most = (float(q) for q in np.quantile(values, [0, 0.5, 1]))
    high = min(most, REACH * middle)
    low = min(max(least, middle / REACH), FLAT * high)
    return Ramp(tuple(colours(hue)), low, high, least < low, most > high)


def colours(hue: str) -> list[str]:
    """LEVELS colours, pale to dark, as '#rrggbb'."""
    part = np.linspace(0, 1, LEVELS)
    angle = np.radians(HUES[hue])
    chroma = CHROMA * (0.22 + 0.78 * np.sin(np.pi * (0.12 + 0.7 * part)))
    lab = np.stack([PALE + (DARK - PALE) * part, chroma * np.cos(angle), chroma * np.sin(angle)])
    linear: Array = (_TO_RGB @ (_TO_LMS @ lab) ** 3).clip(0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return [to_hex(colour) for colour in coded.T]
