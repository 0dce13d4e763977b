"""Normalizes encoded images in the graph as the authors of MNIST normalized their scans.

"The original black and white images from NIST were size normalized to fit in a 20x20 pixel box while preserving their
aspect ratio. […] the images were centered in a 28x28 image by computing the center of mass of the pixels, and
translating the image so as to position this point at the center of the 28x28 field." (Y. LeCun, C. Cortes and
C. Burges, http://yann.lecun.com/exdb/mnist/). Measured on their images, that center is the middle of pixel 14, and the
translation is by whole pixels: normalized this way, most of their images do not change.
"""

import numpy as np
import tensorflow as tf

from components.features import MAX_PIXEL
from components.image_decoding import decode_contrast

# In an image of 28x28 pixels.
_SIDE, _BOX = 28, 20
# The middle of the pixel behind the center.
_CENTER_OFFSET = 0.5

# Least contrast of the strongest ink, blurred, to the paper: in luminance, and in standard deviations of the noise.
_MIN_INK = 16.0
_MIN_INK_TO_NOISE = 1.6
# Threshold of ink, blurred and sharp: a multiple of the noise within bounds relative to the strongest ink.
_BLURRED_TO_NOISE = 1.5
_SHARP_TO_NOISE = 3.0
_BLURRED_FLOOR = (0.12, 0.4)
_SHARP_FLOOR = (0.03, 0.4)
# Ratio of the standard deviation to the mean absolute deviation of Gaussian noise.
_DEVIATION_TO_SIGMA = 1.25
# Pixels of 28x28 that get full ink: as in MNIST, every digit has some; a single one may be noise.
_NUM_FULL_PIXELS = 16

_NUM_PARALLEL_IMAGES = 2

# The paper is estimated from the border cells of this grid.
_GRID = 16
_LARGEST_DEVIATION = 16.0
_INK_DEVIATION = 20.0
_NUM_ROUNDS = 4


def _surface_terms() -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of the border cells int[60], and the terms of a quadratic surface there float32[60,6]."""
    places = (np.arange(_GRID) + 0.5) / _GRID * 2 - 1
    y, x = np.meshgrid(places, places, indexing="ij")
    border = np.maximum(np.abs(x), np.abs(y)) == places[-1]
    y, x = y[border], x[border]
    return np.flatnonzero(border), np.stack([np.ones_like(x), y, x, y * y, x * x, y * x], axis=-1).astype(np.float32)


_BORDER_CELLS, _BORDER_TERMS = _surface_terms()
_LEAST_SQUARES = np.linalg.pinv(_BORDER_TERMS)
_PLANE_TERMS = _BORDER_TERMS[:, :3]
_PLANE_PRODUCTS = (_PLANE_TERMS[:, :, np.newaxis] * _PLANE_TERMS[:, np.newaxis]).reshape(-1, 9)


def normalize_images(files: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Converts encoded images to images like those of MNIST.

    Ink is what differs from the paper, darker or lighter, whichever there is more of. The border of the image shows how
    light and how noisy the paper is.

    Args:
        files: string[n], PNG, JPEG, GIF or BMP, from `limited_files`.
        height: Rows of the result, 28 in MNIST.
        width: Columns of the result, 28 in MNIST.

    Returns:
        float32[n,height,width], 0 background to 255 ink, all zero where there is no ink.

    Raises:
        tf.errors.InvalidArgumentError: At run time: an image is damaged.
    """
    centered = tf.map_fn(
        lambda file: _center(*_find_ink(decode_contrast(file)), (height, width)),
        files,
        # Each of these images may be as large as the largest that is allowed.
        parallel_iterations=_NUM_PARALLEL_IMAGES,
        fn_output_signature=tf.TensorSpec((height, width)),
    )
    num_full = max(1, _NUM_FULL_PIXELS * height * width // _SIDE**2)
    strongest = tf.math.top_k(tf.reshape(centered, [-1, height * width]), num_full).values
    full = tf.reduce_mean(strongest, axis=-1)[:, tf.newaxis, tf.newaxis]
    return tf.minimum(tf.math.divide_no_nan(centered * MAX_PIXEL, full), float(MAX_PIXEL))


def _find_ink(luminance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the ink float32[h,w], zero where there is none, and bool[h,w], where there certainly is some."""
    depth = _paper_luminance(luminance) - luminance
    # Squared, so that a small digit weighs more than the shades of a large paper.
    polarity = tf.sign(tf.reduce_sum(depth * tf.abs(depth)))
    ink = tf.nn.relu(depth * polarity)
    border = tf.concat([depth[0], depth[-1], depth[:, 0], depth[:, -1]], axis=0)
    noise = _DEVIATION_TO_SIGMA * tf.reduce_mean(tf.abs(border))
    blurred = _blur(ink)
    strongest = tf.reduce_max(blurred)
    has_ink = strongest > tf.maximum(_MIN_INK, _MIN_INK_TO_NOISE * noise)
    kept = has_ink & (blurred > _floor(strongest, _BLURRED_TO_NOISE * noise, _BLURRED_FLOOR))
    return tf.where(kept, ink, 0.0), kept & (ink > _floor(strongest, _SHARP_TO_NOISE * noise, _SHARP_FLOOR))


def _blur(ink: tf.Tensor) -> tf.Tensor:
    """Averages over 3x3 pixels, which strokes survive and specks do not."""
    padded = tf.pad(ink, [[1, 1], [1, 1]])
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def _floor(strongest: tf.Tensor, noise: tf.Tensor, shares: tuple[float, float]) -> tf.Tensor:
    least, most = shares
    return tf.clip_by_value(noise, least * strongest, most * strongest)


def _paper_luminance(luminance: tf.Tensor) -> tf.Tensor:
    """Estimates the luminance of the paper at each pixel, float32[h,w], from the border.

    Uneven light changes smoothly: a quadratic surface follows it. Where the border does not fit one, there is ink on
    it, and the rest only supports a plane.
    """
    size = tf.cast(tf.shape(luminance), tf.float32)
    cells = _resample(luminance, (_GRID, _GRID), _GRID / size, tf.zeros([2]))
    border = tf.gather(tf.reshape(cells, [-1]), _BORDER_CELLS)[:, tf.newaxis]
    quadratic = tf.matmul(_LEAST_SQUARES, border)
    smooth = tf.reduce_max(tf.abs(tf.matmul(_BORDER_TERMS, quadratic) - border)) < _LARGEST_DEVIATION
    surface = tf.cond(smooth, lambda: quadratic, lambda: _fit_plane(border))
    level, by_y, by_x, by_yy, by_xx, by_yx = tf.unstack(surface[:, 0])
    y, x = ((tf.range(length) + 0.5) * (2 / length) - 1 for length in tf.unstack(size))
    y, x = y[:, tf.newaxis], x[tf.newaxis]
    return (level + y * (by_y + y * by_yy)) + x * (by_x + x * by_xx) + (y * by_yx) * x


def _fit_plane(border: tf.Tensor) -> tf.Tensor:
    """Fits a plane by iteratively reweighted least squares, in which distant cells count less."""
    median = tf.math.top_k(border[:, 0], len(_BORDER_CELLS) // 2).values[-1]
    plane = tf.stack([[median], [0.0], [0.0]])
    for _ in range(_NUM_ROUNDS):
        weights = 1 / (tf.square(border - tf.matmul(_PLANE_TERMS, plane)) + _INK_DEVIATION**2)
        products = tf.reshape(tf.matmul(weights, _PLANE_PRODUCTS, transpose_a=True), [3, 3])
        plane = tf.linalg.solve(products, tf.matmul(_PLANE_TERMS, weights * border, transpose_a=True))
    return tf.pad(plane, [[0, 3], [0, 0]])


def _center(ink: tf.Tensor, certain: tf.Tensor, shape: tuple[int, int]) -> tf.Tensor:
    """Scales the ink to the box and moves its center of mass to the middle of an image of that shape."""
    starts, ends = zip(_extent(tf.reduce_any(certain, axis=1)), _extent(tf.reduce_any(certain, axis=0)), strict=True)
    start, lengths = tf.stack(starts), tf.stack(ends) - tf.stack(starts)
    scale = min(shape) * _BOX / _SIDE / tf.reduce_max(lengths)
    mass = tf.stack([_mean_place(tf.reduce_sum(ink, axis=1)), _mean_place(tf.reduce_sum(ink, axis=0))])
    size = tf.constant(shape, tf.float32)
    room = tf.floor(size - scale * lengths)
    # Even a long tail is not cut off.
    corner = tf.clip_by_value(tf.round(size // 2 + _CENTER_OFFSET - scale * (mass - start)), 0.0, room)
    return _resample(ink, shape, tf.stack([scale, scale]), corner - scale * start)


def _extent(taken: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where the first True of bool[n] begins and the last ends, float32[]; the whole range if there is none."""
    numbers = tf.cast(taken, tf.int8)
    before, behind = tf.argmax(numbers), tf.argmax(numbers[::-1])
    return tf.cast(before, tf.float32), tf.cast(tf.size(taken, tf.int64) - behind, tf.float32)


def _mean_place(mass: tf.Tensor) -> tf.Tensor:
    places = tf.range(tf.cast(tf.size(mass), tf.float32)) + 0.5
    return tf.math.divide_no_nan(tf.reduce_sum(mass * places), tf.reduce_sum(mass))


def _resample(image: tf.Tensor, shape: tuple[int, int], scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Scales an image, then shifts it; each new pixel is the mean of the area that it covers.

    Scaled by one and shifted by whole pixels, the image does not change. The sum of the pixels is always multiplied by
    the scales. `tf.image.resize` guarantees neither.

    Args:
        image: float32[h,w]; zero outside.
        shape: Height and width of the result.
        scale: float32[2], new height and width of a pixel.
        shift: float32[2], new position of the upper left corner of the image, down and to the right.
    """

    def overlaps(num_new: int, num_old: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        """Returns how much of each new pixel each old one covers along one axis, float32[num_new,num_old]."""
        edges = tf.range(tf.cast(num_old + 1, tf.float32)) * scale + shift
        starts = tf.range(float(num_new))[:, tf.newaxis]
        return tf.nn.relu(tf.minimum(edges[1:], starts + 1) - tf.maximum(edges[:-1], starts))

    rows, columns = (overlaps(shape[axis], tf.shape(image)[axis], scale[axis], shift[axis]) for axis in range(2))
    return tf.matmul(rows, tf.matmul(image, columns, transpose_b=True))
