"""What can lie over the image of a digit: rectangles that invert or hide it, and strokes.

Both take images float32[n,28,28,1], 0 background to 1 ink, and a seed int64[2], and return images of the same kind; the
same seed gives the same images. How strong each is was chosen on corrupted copies of the eval split.
"""

import math

import numpy as np
import tensorflow as tf

from components.features import IMAGE_HEIGHT, IMAGE_WIDTH
from components.trainer.random_draws import per_image, split_seed

_ROWS = np.arange(IMAGE_HEIGHT, dtype=np.float32)[:, np.newaxis]
_COLUMNS = np.arange(IMAGE_WIDTH, dtype=np.float32)[np.newaxis, :]

_CORNER_MARGIN = 4.0
_INVERTED_SHARE = 0.6
_LARGE_RECTANGLE = 0.25

_NUM_STROKES = 6
_STROKE_SHARE = 0.6
_STROKE_MARGIN = 2.0
_LONGEST_STROKE = 32.0
_LARGEST_STROKE_RADIUS = 1.5
_FAINTEST_STROKE = 0.5
_ERASING_SHARE = 0.2


def paint_rectangle(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Inverts a random rectangle of each image, or hides it behind a grey one where it is not large."""
    corner_seed, kind_seed, grey_seed = split_seed(seed, 3)
    inside = _rectangles(tf.shape(images)[0], corner_seed)
    # Behind a large one nothing of the digit would be left.
    large = tf.reduce_mean(tf.cast(inside, tf.float32), axis=[1, 2, 3], keepdims=True) > _LARGE_RECTANGLE
    inverted = large | (per_image(images, kind_seed) < _INVERTED_SHARE)
    return tf.where(inside, tf.where(inverted, 1 - images, per_image(images, grey_seed)), images)


def _rectangles(num_images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    # Corners may lie outside: some rectangles become bands from edge to edge.
    limits = (-_CORNER_MARGIN, IMAGE_HEIGHT + _CORNER_MARGIN)
    corners = tf.random.stateless_uniform([4, num_images, 1, 1], seed, *limits)
    top, bottom, left, right = tf.unstack(corners)
    between_rows = (_ROWS - top) * (_ROWS - bottom) <= 0
    between_columns = (_COLUMNS - left) * (_COLUMNS - right) <= 0
    return (between_rows & between_columns)[..., tf.newaxis]


def draw_strokes(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws a few straight strokes over each image, from dots to lines across it, in ink or with an eraser."""
    stroke_seed, strength_seed, kind_seed = split_seed(seed, 3)
    strokes = _strokes(tf.shape(images)[0], stroke_seed) * per_image(images, strength_seed, _FAINTEST_STROKE)
    erasing = per_image(images, kind_seed) < _ERASING_SHARE
    return tf.where(erasing, images * (1 - strokes), tf.maximum(images, strokes))


def _strokes(num_images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    seeds = split_seed(seed, 6)
    shape = [num_images, _NUM_STROKES, 1, 1]
    row, column, angle, length, radius, drawn = (tf.random.stateless_uniform(shape, each) for each in seeds)
    # Squared, so that most strokes are short and thin.
    half_length, radius = _LONGEST_STROKE / 2 * length**2, _LARGEST_STROKE_RADIUS * radius**2
    down = _ROWS - _spread(row, IMAGE_HEIGHT)
    right = _COLUMNS - _spread(column, IMAGE_WIDTH)
    sine, cosine = tf.sin(2 * math.pi * angle), tf.cos(2 * math.pi * angle)
    along = tf.clip_by_value(down * sine + right * cosine, -half_length, half_length)
    distance = tf.sqrt((down - along * sine) ** 2 + (right - along * cosine) ** 2)
    ink = tf.where(drawn < _STROKE_SHARE, tf.clip_by_value(radius + 1 - distance, 0.0, 1.0), 0.0)
    return tf.reduce_max(ink, axis=1)[..., tf.newaxis]


def _spread(draws: tf.Tensor, size: int) -> tf.Tensor:
    return draws * (size + 2 * _STROKE_MARGIN) - _STROKE_MARGIN
