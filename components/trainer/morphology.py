"""Grayscale morphology in the graph, as in J. Serra, Image Analysis and Mathematical Morphology, 1982.

The number of steps is logarithmic in the length of the window: each step doubles what a value covers.
"""

from collections.abc import Callable

import tensorflow as tf

_Extremum = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def close_image(image: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Fills what is darker than its surroundings and too narrow for a square window.

    Windows lie inside the image, so a dark strip along its edge is filled, too.

    Args:
        image: float32[h,w].
        length: int32[], side of the window, from 1 to the shorter side of the image.
    """
    for extremum, slide in ((tf.maximum, _ahead), (tf.minimum, _behind)):
        image = slide(image, length, extremum)
        image = tf.transpose(slide(tf.transpose(image), length, extremum))
    return image


def open_columns(image: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Removes what is lighter than above and below it, and lower than `length`; arguments as in `close_image`."""
    return _behind(_ahead(image, length, tf.minimum), length, tf.maximum)


def dilate_columns(image: tf.Tensor) -> tf.Tensor:
    """Returns the maximum of each number and those above and below it, [h,w]; no number is negative."""
    padded = tf.pad(image, [[1, 1], [0, 0]])
    return tf.maximum(tf.maximum(padded[:-2], padded[1:-1]), padded[2:])


def dilate(image: tf.Tensor) -> tf.Tensor:
    """Returns the maximum of the 3x3 numbers around each, [h,w]; faster than `tf.nn.max_pool2d`, and for integers."""
    return tf.transpose(dilate_columns(tf.transpose(dilate_columns(image))))


# Functions, so that the graph holds their steps once.
@tf.function(autograph=False)
def _ahead(image: tf.Tensor, length: tf.Tensor, extremum: _Extremum) -> tf.Tensor:
    """Returns the extremum of each row and the `length` - 1 rows that follow it, float32[h,w]."""
    rows = tf.range(tf.shape(image)[0])
    return _widen(image, length, extremum, lambda shift: tf.minimum(rows + shift, rows[-1]))


@tf.function(autograph=False)
def _behind(image: tf.Tensor, length: tf.Tensor, extremum: _Extremum) -> tf.Tensor:
    """Returns the extremum of the windows that hold each row; a row of `image` stands for the window it begins."""
    rows = tf.range(tf.shape(image)[0])
    image = tf.gather(image, tf.minimum(rows, rows[-1] + 1 - length))
    return _widen(image, length, extremum, lambda shift: tf.maximum(rows - shift, 0))


def _widen(
    image: tf.Tensor, length: tf.Tensor, extremum: _Extremum, shifted: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Widens what each value covers by shifts of up to what it covers already, until it covers `length` rows."""

    def step(covered: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = shifted(tf.minimum(length - covered, covered))
        return 2 * covered, extremum(image, tf.gather(image, rows))

    return tf.while_loop(lambda covered, image: covered < length, step, (1, image), parallel_iterations=1)[1]
