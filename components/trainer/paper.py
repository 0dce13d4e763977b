"""The paper under a digit: how light it is at each place, read from the border, where there is mostly no ink."""

import numpy as np
import tensorflow as tf

from components.trainer.area_sampling import resample

_GRID = 16
_LARGEST_DEVIATION = 16.0
_INK_DEVIATION = 20.0
_NUM_ROUNDS = 4


def _border() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    places = (np.arange(_GRID) + 0.5) / _GRID * 2 - 1
    y, x = np.meshgrid(places, places, indexing="ij")
    border = np.maximum(np.abs(x), np.abs(y)) == places[-1]
    return np.flatnonzero(border), y[border], x[border]


def _terms(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(x), y, x, y * y, x * x, y * x], axis=-1).astype(np.float32)


_BORDER_CELLS, _BORDER_Y, _BORDER_X = _border()
_BORDER_TERMS = _terms(_BORDER_Y, _BORDER_X)
_LEAST_SQUARES = np.linalg.pinv(_BORDER_TERMS)
_PLANE_TERMS = _BORDER_TERMS[:, :3]
_PLANE_PRODUCTS = (_PLANE_TERMS[:, :, np.newaxis] * _PLANE_TERMS[:, np.newaxis]).reshape(-1, 9)


def paper_luminance(luminance: tf.Tensor) -> tf.Tensor:
    """Estimates the luminance of the paper at each pixel.

    Light that falls unevenly changes smoothly: a quadratic surface follows it. Where the border does not fit one, there
    is ink on it, and only a plane can be told from what is left.

    Args:
        luminance: float32[h,w].

    Returns:
        float32[h,w].
    """
    size = tf.cast(tf.shape(luminance), tf.float32)
    cells = resample(luminance, (_GRID, _GRID), _GRID / size, tf.zeros([2]))
    border = tf.gather(tf.reshape(cells, [-1]), _BORDER_CELLS)[:, tf.newaxis]
    surface = tf.matmul(_LEAST_SQUARES, border)
    smooth = tf.reduce_max(tf.abs(tf.matmul(_BORDER_TERMS, surface) - border)) < _LARGEST_DEVIATION
    return _evaluate(tf.cond(smooth, lambda: surface, lambda: _plane(border)), tf.shape(luminance))


def _plane(border: tf.Tensor) -> tf.Tensor:
    """Fits a plane by reweighted least squares: the further a cell is from it, the less it counts."""
    median = tf.math.top_k(border[:, 0], len(_BORDER_CELLS) // 2).values[-1]
    plane = tf.stack([[median], [0.0], [0.0]])
    for _ in range(_NUM_ROUNDS):
        weights = 1 / (tf.square(border - tf.matmul(_PLANE_TERMS, plane)) + _INK_DEVIATION**2)
        products = tf.reshape(tf.matmul(weights, _PLANE_PRODUCTS, transpose_a=True), [3, 3])
        plane = tf.linalg.solve(products, tf.matmul(_PLANE_TERMS, weights * border, transpose_a=True))
    return tf.pad(plane, [[0, 3], [0, 0]])


def _evaluate(surface: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    height, width = tf.unstack(shape)
    level, by_y, by_x, by_yy, by_xx, by_yx = tf.unstack(surface[:, 0])
    y, x = _places(height)[:, tf.newaxis], _places(width)[tf.newaxis]
    return (level + y * (by_y + y * by_yy)) + x * (by_x + x * by_xx) + (y * by_yx) * x


def _places(length: tf.Tensor) -> tf.Tensor:
    return (tf.range(tf.cast(length, tf.float32)) + 0.5) * (2 / tf.cast(length, tf.float32)) - 1
