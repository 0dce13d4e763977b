"""Random numbers for batches of images: a seed for each purpose, a number for each image."""

import tensorflow as tf


def split_seed(seed: tf.Tensor, num_seeds: int) -> list[tf.Tensor]:
    """Makes several seeds int64[2] of one, which draw independently."""
    return tf.unstack(tf.random.experimental.stateless_split(seed, num_seeds))


def per_image(images: tf.Tensor, seed: tf.Tensor, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """Draws one number per image, evenly from `low` to `high`.

    Args:
        images: float32[n,28,28,1].
        seed: int64[2].
        low: The least number.
        high: The greatest number, itself never drawn.

    Returns:
        float32[n,1,1,1].
    """
    return tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 1], seed, low, high)
