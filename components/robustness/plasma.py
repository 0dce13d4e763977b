"""Plasma fractals by the diamond-square algorithm, for many images at once: the shape of fog."""

import math

import numpy as np
from numpy.typing import NDArray

from components.features import IMAGE_WIDTH

MAP_SIZE = 256
"""Side of the whole fractal, of which an image shows the top left corner (mnist-c, `plasma_fractal`)."""

WINDOW_STEP = 8
"""Distance of the points, from which on only those that the image shows are made, and few around them."""

MARGIN = 1
"""Points kept around the image; refining spoils one of them at each edge."""

Grids = NDArray[np.float32]


def plasma_fractals(count: int, decay: float, generator: np.random.Generator) -> Grids:
    """Makes fractals as `plasma_fractal` of mnist-c does.

    There, noise of an amplitude `wibble` squared is added at each level, and `wibble` is divided by `decay` from level
    to level. The fractal is 256 points wide and repeats itself; its values are scaled to 0 to 1, and its top left
    corner is used. Here, the fine levels are made for that corner only. The least and the greatest value that the
    scale knows of are therefore those of the corner and of every eighth point of the rest, which makes the range 0.15 %
    narrower on average (1,500 fractals of decay 1.4).

    Args:
        count: How many.
        decay: The higher, the smoother.
        generator: Where the randomness comes from.

    Returns:
        float32[count,28,28], 0 to 1.
    """
    grids = np.zeros((count, 1, 1), np.float32)
    step, amplitude = MAP_SIZE, 1.0
    while step > WINDOW_STEP:
        grids = _refine(grids, amplitude, generator)
        step, amplitude = step // 2, amplitude / decay**2
    window = np.roll(grids, MARGIN, axis=(1, 2))[:, : _window_points(step), : _window_points(step)]
    while step > 1:
        window = _refine(window, amplitude, generator)
        step, amplitude = step // 2, amplitude / decay**2
        points = slice(MARGIN, MARGIN + _window_points(step))
        window = window[:, points, points]
    image = slice(MARGIN, MARGIN + IMAGE_WIDTH)
    return _scaled(window[:, image, image], grids)


def _window_points(step: int) -> int:
    return math.ceil(IMAGE_WIDTH / step) + 1 + 2 * MARGIN


def _scaled(window: Grids, whole: Grids) -> Grids:
    axes = (1, 2)
    least = np.minimum(window.min(axes, keepdims=True), whole.min(axes, keepdims=True))
    greatest = np.maximum(window.max(axes, keepdims=True), whole.max(axes, keepdims=True))
    return (window - least) / (greatest - least)


def _refine(grids: Grids, amplitude: float, generator: np.random.Generator) -> Grids:
    # Halves the distance of the points: first those in the middle of four, then those between two.
    def mean(corners: Grids) -> Grids:
        noise = generator.random(corners.shape, dtype=np.float32) * np.float32(2) - np.float32(1)
        return corners / 4 + np.float32(amplitude) * noise

    count, height, width = grids.shape
    below, right = np.roll(grids, -1, axis=1), np.roll(grids, -1, axis=2)
    centres = mean(grids + below + right + np.roll(below, -1, axis=2))
    finer = np.empty((count, 2 * height, 2 * width), np.float32)
    finer[:, ::2, ::2] = grids
    finer[:, 1::2, 1::2] = centres
    finer[:, ::2, 1::2] = mean(grids + right + centres + np.roll(centres, 1, axis=1))
    finer[:, 1::2, ::2] = mean(grids + below + centres + np.roll(centres, 1, axis=2))
    return finer
