"""The corruption that leaves of a digit nothing but its edges, by Canny's algorithm (1986, IEEE TPAMI 8(6))."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter, label

from components.features import MAX_PIXEL
from components.robustness.pixels import Images, to_unit

SIGMA = 1.0
"""Standard deviation of the smoothing in pixels (scikit-image, `feature.canny`, whose defaults mnist-c takes)."""

LOW_THRESHOLD = 0.1
"""Least gradient of an edge that continues a stronger one (the same)."""

HIGH_THRESHOLD = 0.2
"""Least gradient of an edge (the same)."""

# Eight neighbours within an image, none in another one.
NEIGHBOURS = np.zeros((3, 3, 3), bool)
NEIGHBOURS[1] = True

Gradients = NDArray[np.float32]


def canny_edges(images: Images, _: np.random.Generator) -> Images:
    """Draws the edges of the digit, one pixel wide.

    Args:
        images: uint8[n,28,28].

    Returns:
        uint8[n,28,28], 0 or 255.
    """
    smooth = _smooth(to_unit(images))
    down, right = _sobel(smooth, along=1, across=2), _sobel(smooth, along=2, across=1)
    strengths = np.hypot(down, right)
    edges = _ridges(strengths, down, right)
    return np.where(_continued(edges, strengths), np.uint8(MAX_PIXEL), np.uint8(0))


def _smooth(images: NDArray[np.float32]) -> NDArray[np.float32]:
    # What is outside the image has no weight.
    def blur(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return gaussian_filter(values, SIGMA, axes=(1, 2), mode="constant")

    return blur(images) / blur(np.ones_like(images[:1]))


def _sobel(images: NDArray[np.float32], along: int, across: int) -> Gradients:
    # SciPy's own would also smooth from one image of the batch to the next.
    return correlate1d(correlate1d(images, [-1, 0, 1], axis=along), [1, 2, 1], axis=across)


def _ridges(strengths: Gradients, down: Gradients, right: Gradients) -> NDArray[np.bool_]:
    # Points at least as strong as both neighbours along the gradient, interpolated between the two nearest.
    inside = np.zeros(strengths.shape, bool)
    inside[:, 1:-1, 1:-1] = strengths[:, 1:-1, 1:-1] >= LOW_THRESHOLD
    points = np.flatnonzero(inside)
    flat = strengths.ravel()
    down, right = down.ravel()[points], right.ravel()[points]
    row_step, column_step = np.sign(down).astype(np.int64) * strengths.shape[2], np.sign(right).astype(np.int64)
    steep = np.abs(down) >= np.abs(right)
    straight = np.where(steep, row_step, column_step)
    diagonal = row_step + column_step
    weights = np.minimum(np.abs(down), np.abs(right)) / np.maximum(np.abs(down), np.abs(right))
    ahead = weights * flat[points + diagonal] + (1 - weights) * flat[points + straight]
    behind = weights * flat[points - diagonal] + (1 - weights) * flat[points - straight]
    inside.ravel()[points] = (ahead <= flat[points]) & (behind <= flat[points])
    return inside


def _continued(edges: NDArray[np.bool_], strengths: Gradients) -> NDArray[np.bool_]:
    # Whole edges of which some point is strong.
    labels, num_labels = label(edges, NEIGHBOURS)
    strong = np.zeros(num_labels + 1, bool)
    strong[labels[edges & (strengths >= HIGH_THRESHOLD)]] = True
    strong[0] = False
    return strong[labels]
