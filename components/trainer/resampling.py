"""Scales and shifts an image in the graph, with exact means of areas."""

import tensorflow as tf


def resample(image: tf.Tensor, shape: tuple[int, int], scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
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


def resample_to(image: tf.Tensor, shape: tuple[int, int]) -> tf.Tensor:
    """Scales an image float32[h,w] to a shape."""
    scale = tf.constant(shape, tf.float32) / tf.cast(tf.shape(image), tf.float32)
    return resample(image, shape, scale, tf.zeros([2]))
