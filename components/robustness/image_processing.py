"""Image processing that NumPy and SciPy lack, for whole batches: lines, edges, fractals and moving windows."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_propagation, correlate1d, gaussian_filter

REFERENCE_SIDE = 28
"""Height and width of the images of MNIST-C, to whose pixels all lengths refer."""

STROKE_RADIUS = 2.3
"""Distance in pixels at which a line ends; up to there its ink is log(1 - distance / radius) + 1 (mnist-c)."""

# The defaults of scikit-image's `feature.canny`, which mnist-c uses.
CANNY_SIGMA = 1.0
CANNY_LOW_THRESHOLD, CANNY_HIGH_THRESHOLD = 0.1, 0.2

PLASMA_SIZE = 256
"""Side of a whole fractal, of which an image shows the top left corner (mnist-c, `plasma_fractal`)."""

PLASMA_POINTS = 32
"""Points along a side of the whole fractal; finer ones are computed near the image only."""

MARGIN = 1
"""Points kept around the image; refining spoils one of them at each edge."""

Floats = NDArray[np.floating]


def windows(images: Floats, tops: NDArray[np.integer], lefts: NDArray[np.integer], size: tuple[int, int]) -> Floats:
    """Cuts a window of a height and width out of each image float[n,h,w,channels], from its row and column int[n]."""
    all_windows = np.lib.stride_tricks.sliding_window_view(images, size, axis=(1, 2))
    return np.moveaxis(all_windows[np.arange(len(images)), tops, lefts], 1, -1)


def draw_lines(
    height: int,
    width: int,
    from_columns: Floats,
    from_rows: Floats,
    to_columns: Floats,
    to_rows: Floats,
    pixel: float = 1.0,
) -> NDArray[np.float32]:
    """Draws one straight line per image from left to right, float32[n,height,width], 0 background to 1 ink.

    All ends are float[n]. As in mnist-c (`line_from_points`), the distance of a pixel from the line is measured along
    its column. `pixel` is the length of a pixel of MNIST-C, to which the width of the stroke refers.
    """
    columns = np.arange(width)
    slopes = (to_rows - from_rows) / (to_columns - from_columns)
    middles = slopes[:, np.newaxis] * (columns - from_columns[:, np.newaxis]) + from_rows[:, np.newaxis]
    begins, ends = np.floor(from_columns)[:, np.newaxis], np.ceil(to_columns)[:, np.newaxis]
    middles[(columns < begins) | (columns >= ends)] = np.inf
    distances = np.abs(np.arange(height, dtype=np.float32)[:, np.newaxis] - middles[:, np.newaxis])
    near = np.clip(1 - distances.astype(np.float32) / (STROKE_RADIUS * pixel), np.exp(np.float32(-1)), 1)
    return np.log(near) + 1


def find_edges(images: NDArray[np.float32], pixel: float = 1.0) -> NDArray[np.bool_]:
    """Finds edges by Canny's algorithm (1986, IEEE TPAMI 8(6)), one pixel wide.

    Args:
        images: float32[n,height,width], 0 to 1.
        pixel: Length of a pixel of MNIST-C, to which the blur and the slopes of edges refer.

    Returns:
        bool[n,height,width].
    """

    def blur(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return gaussian_filter(values, CANNY_SIGMA * pixel, axes=(1, 2), mode="constant")

    # Pixels outside the image have no weight.
    smooth = blur(images) / blur(np.ones_like(images[:1]))
    down, right = _sobel(smooth, along=1, across=2), _sobel(smooth, along=2, across=1)
    strengths = np.hypot(down, right)
    edges = _ridges(strengths, CANNY_LOW_THRESHOLD / pixel, down, right)
    # Connects the eight neighbors within an image, and no pixels of different images.
    neighbors = np.zeros((3, 3, 3), bool)
    neighbors[1] = True
    return binary_propagation(edges & (strengths >= CANNY_HIGH_THRESHOLD / pixel), neighbors, mask=edges)


def _sobel(images: Floats, along: int, across: int) -> Floats:
    # `scipy.ndimage.sobel` would also smooth from one image of the batch to the next.
    return correlate1d(correlate1d(images, [-1, 0, 1], axis=along), [1, 2, 1], axis=across)


def _ridges(strengths: Floats, threshold: float, down: Floats, right: Floats) -> NDArray[np.bool_]:
    """Keeps points above a threshold, at least as strong as both interpolated neighbors along the gradient."""
    ridges = np.zeros(strengths.shape, bool)
    ridges[:, 1:-1, 1:-1] = strengths[:, 1:-1, 1:-1] >= threshold
    points = np.flatnonzero(ridges)
    flat = strengths.ravel()
    down, right = down.ravel()[points], right.ravel()[points]
    row_step, column_step = np.sign(down).astype(np.int64) * strengths.shape[2], np.sign(right).astype(np.int64)
    straight = np.where(np.abs(down) >= np.abs(right), row_step, column_step)
    diagonal = row_step + column_step
    weights = np.minimum(np.abs(down), np.abs(right)) / np.maximum(np.abs(down), np.abs(right))
    ahead = weights * flat[points + diagonal] + (1 - weights) * flat[points + straight]
    behind = weights * flat[points - diagonal] + (1 - weights) * flat[points - straight]
    ridges.ravel()[points] = (ahead <= flat[points]) & (behind <= flat[points])
    return ridges


def plasma_fractals(
    count: int, height: int, width: int, decay: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Generates plasma fractals with the diamond-square algorithm, like `plasma_fractal` of mnist-c.

    At each level, noise of amplitude `wibble` squared is added, and `wibble` is divided by `decay`. The published code
    scales the whole fractal of 256x256 points, which wraps around, to 0 to 1 and uses its top left corner. This
    function computes the fine levels for that corner only. The minimum and the maximum for scaling therefore cover the
    corner and every eighth point of the rest: the range is 0.15 % narrower on average (1,500 fractals of decay 1.4).
    The fractals of images larger than 28x28 have more points, so that the corner is as large a part of them.

    Args:
        count: Number of fractals.
        height: Rows of each.
        width: Columns of each.
        decay: Smoothness; higher is smoother.
        generator: Source of randomness.

    Returns:
        float32[count,height,width], 0 to 1.
    """
    sides = (height, width)
    size = max(PLASMA_SIZE, 2 ** math.ceil(math.log2(PLASMA_SIZE * max(sides) / REFERENCE_SIDE)))
    grids = np.zeros((count, 1, 1), np.float32)
    step, amplitude = size, 1.0
    while step > size // PLASMA_POINTS:
        grids = _refine(grids, amplitude, generator)
        step, amplitude = step // 2, amplitude / decay**2
    window = np.roll(grids, MARGIN, axis=(1, 2))
    window = window[:, *(slice(_num_points(side, step) + 2 * MARGIN) for side in sides)]
    while step > 1:
        window = _refine(window, amplitude, generator)
        step, amplitude = step // 2, amplitude / decay**2
        window = window[:, *(slice(MARGIN, 3 * MARGIN + _num_points(side, step)) for side in sides)]
    image = window[:, *(slice(MARGIN, MARGIN + side) for side in sides)]
    least = np.minimum(image.min((1, 2), keepdims=True), grids.min((1, 2), keepdims=True))
    greatest = np.maximum(image.max((1, 2), keepdims=True), grids.max((1, 2), keepdims=True))
    return (image - least) / (greatest - least)


def _num_points(side: int, step: int) -> int:
    return math.ceil(side / step) + 1


def _refine(grids: Floats, amplitude: float, generator: np.random.Generator) -> Floats:
    """Halves the distance of the points: adds those amid four others, then those between two."""

    def mean(corners: Floats) -> Floats:
        noise = generator.random(corners.shape, dtype=np.float32) * np.float32(2) - np.float32(1)
        return corners / 4 + np.float32(amplitude) * noise

    count, height, width = grids.shape
    below, right = np.roll(grids, -1, axis=1), np.roll(grids, -1, axis=2)
    centers = mean(grids + below + right + np.roll(below, -1, axis=2))
    finer = np.empty((count, 2 * height, 2 * width), np.float32)
    finer[:, ::2, ::2] = grids
    finer[:, 1::2, 1::2] = centers
    finer[:, ::2, 1::2] = mean(grids + right + centers + np.roll(centers, 1, axis=1))
    finer[:, 1::2, ::2] = mean(grids + below + centers + np.roll(centers, 1, axis=2))
    return finer
