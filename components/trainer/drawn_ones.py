"""Draws ones with an upstroke, a serif or a base, as many people write and most fonts print them.

MNIST has few of them, and a network that is trained on it alone takes many of them for sevens.
"""

import numpy as np
from numpy.typing import NDArray

_SIDE, _BOX = 28, 20
# All lengths are relative to the stem.
_SLANT = (-0.1, 0.25)
# Lengths of an upstroke, and its angles to the stem in degrees; the bar of a seven is at about 90.
_SHORT_SHARE = 0.6
_SHORT_UPSTROKE = (0.1, 0.45)
_SHORT_ANGLE = (35.0, 70.0)
_LONG_UPSTROKE = (0.45, 0.85)
_LONG_ANGLE = (15.0, 58.0)
_LARGEST_BEND = 0.12
_BASE_SHARE = 0.4
_HALF_BASE = (0.12, 0.4)
# In pixels of 28x28.
_RADIUS = (0.6, 2.8)
# Square ends are flat, as those of fonts; the others are round.
_SQUARE_SHARE = 0.5


def draw_ones(num_images: int, height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Draws ones of random shape, scaled and centered as MNIST's.

    Args:
        num_images: Number of images.
        height: Their height.
        width: Their width.
        seed: The same seed returns the same images.

    Returns:
        uint8[n,height,width], 0 background to 255 ink.
    """
    random = np.random.default_rng(seed)

    def draw(low: float, high: float) -> NDArray[np.floating]:
        return random.uniform(low, high, num_images)

    # Points are complex numbers: to the right of the top of the stem, and down.
    is_short = random.random(num_images) < _SHORT_SHARE
    length = np.where(is_short, draw(*_SHORT_UPSTROKE), draw(*_LONG_UPSTROKE))
    angle = np.where(is_short, draw(*_SHORT_ANGLE), draw(*_LONG_ANGLE))
    upstroke = length * 1j * np.exp(1j * np.radians(angle))
    bend = upstroke * (0.5 + 1j * draw(-_LARGEST_BEND, _LARGEST_BEND))
    has_base = random.random(num_images) < _BASE_SHARE
    half_base = np.where(has_base, draw(*_HALF_BASE), 0)
    top, bottom = np.zeros(num_images), np.full(num_images, 1j)
    starts = np.stack([top, top, bend, bottom - half_base], axis=1)
    ends = np.stack([bottom, bend, upstroke, bottom + half_base], axis=1)
    slant = draw(*_SLANT)[:, np.newaxis]
    starts, ends = (each - slant * each.imag for each in (starts, ends))
    side = min(height, width)
    radius = draw(*_RADIUS) * side / _SIDE

    points = np.concatenate([starts, ends], axis=1)
    extents = [np.ptp(part, axis=1) for part in (points.real, points.imag)]
    scale = (side * _BOX / _SIDE - 2 * radius) / np.maximum(*extents)
    lengths = np.abs(ends - starts)
    center = ((starts + ends) / 2 * lengths).sum(axis=1) / lengths.sum(axis=1)
    middle = (width + 1j * height) / 2
    starts, ends = ((each - center[:, np.newaxis]) * scale[:, np.newaxis] + middle for each in (starts, ends))

    pixels = ((np.arange(width) + 0.5) + 1j * (np.arange(height)[:, np.newaxis] + 0.5)).astype(np.complex64)
    is_square = random.random(num_images) < _SQUARE_SHARE
    strokes = zip(starts.T, ends.T, strict=True)
    distances = np.minimum.reduce([_distances(pixels, start, end, is_square) for start, end in strokes])
    ink = np.clip(radius[:, np.newaxis, np.newaxis] + 0.5 - distances, 0, 1)
    return np.round(255 * ink).astype(np.uint8)


def _distances(
    pixels: NDArray[np.complexfloating],
    start: NDArray[np.complexfloating],
    end: NDArray[np.complexfloating],
    is_square: NDArray[np.bool_],
) -> NDArray[np.floating]:
    """Returns how far the pixels complex64[height,width] are from a stroke of each image, float32[n,height,width].

    The distance to a square pen is that of the axis that is farther away.
    """
    start, stroke = (each.astype(np.complex64)[:, np.newaxis, np.newaxis] for each in (start, end - start))
    from_start = pixels - start
    along = np.clip((from_start * stroke.conj()).real / np.maximum(np.abs(stroke) ** 2, 1e-9), 0, 1)
    offsets = from_start - along * stroke
    to_square = np.maximum(np.abs(offsets.real), np.abs(offsets.imag))
    return np.where(is_square[:, np.newaxis, np.newaxis], to_square, np.abs(offsets))
