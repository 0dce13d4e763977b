"""Scales and moves an image so that each new pixel is the mean of the area that it covers."""

import tensorflow as tf


def resample(image: tf.Tensor, shape: tuple[int, int], scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Scales an image, then shifts it.

    Scaled by one and shifted by whole pixels it stays exactly as it was, and its sum is always that of the image times
    the scales, which `tf.image.resize` and its kernels do not promise.

    Args:
        image: float32[h,w]; outside it is zero.
        shape: Height and width of the result.
        scale: float32[2], new height and width of a pixel.
        shift: float32[2], new place of the image's upper left corner, down and to the right.

    Returns:
        float32 of that shape.
    """
    height, width = shape
    rows = _overlaps(height, tf.shape(image)[0], scale[0], shift[0])
    columns = _overlaps(width, tf.shape(image)[1], scale[1], shift[1])
    return tf.matmul(rows, tf.matmul(image, columns, transpose_b=True))


def _overlaps(num_new: int, num_old: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Returns how much of each new pixel each old one covers along one axis, float32[num_new,num_old]."""
    edges = tf.range(tf.cast(num_old + 1, tf.float32)) * scale + shift
    starts = tf.range(float(num_new))[:, tf.newaxis]
    return tf.nn.relu(tf.minimum(edges[1:], starts + 1) - tf.maximum(edges[:-1], starts))
