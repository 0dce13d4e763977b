"""Random affine motion of training images: digits turn, stretch, slant and move, as handwriting does."""

import math

import tensorflow as tf

from components.features import IMAGE_HEIGHT, IMAGE_WIDTH
from components.trainer.hyperparameters import Hyperparameters


def affine_transforms(reach: tf.Tensor, hyperparameters: Hyperparameters, seed: tf.Tensor) -> tf.Tensor:
    """Draws one random affine transform per image, about the image's centre.

    Args:
        reach: float32[n], by how much the limits of each image are multiplied.
        hyperparameters: The largest rotation, zoom, shear and shift; all zero gives the identity.
        seed: int64[2]; the same seed draws the same transforms.

    Returns:
        float32[n,8]: for each image the first eight numbers of the projective matrix that maps a point of the output
        to a point of the input, as `ImageProjectiveTransformV3` takes it.
    """
    limits = (
        math.radians(hyperparameters.rotation),
        hyperparameters.shear,
        # As logarithms, so that an image shrinks as much as it grows, and never to nothing.
        math.log1p(hyperparameters.zoom),
        math.log1p(hyperparameters.zoom),
        hyperparameters.shift,
        hyperparameters.shift,
    )
    draws = tf.random.stateless_uniform([len(limits), tf.size(reach)], seed, minval=-1.0)
    angle, shear, zoom_x, zoom_y, shift_x, shift_y = tf.unstack(draws * tf.constant(limits)[:, tf.newaxis] * reach)
    width, height = tf.exp(zoom_x), tf.exp(zoom_y)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    xx, xy = cosine * width, (cosine * shear - sine) * height
    yx, yy = sine * width, (sine * shear + cosine) * height
    centre_x, centre_y = (IMAGE_WIDTH - 1) / 2, (IMAGE_HEIGHT - 1) / 2
    zeros = tf.zeros_like(angle)
    return tf.stack(
        [
            xx,
            xy,
            centre_x - xx * centre_x - xy * centre_y + shift_x,
            yx,
            yy,
            centre_y - yx * centre_x - yy * centre_y + shift_y,
            zeros,
            zeros,
        ],
        axis=1,
    )


def move(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Applies to each image its transform.

    Args:
        images: float32[n,28,28,1], of which some pixel is background.
        transforms: float32[n,8], from `affine_transforms`.

    Returns:
        float32[n,28,28,1]: bilinear samples; what lies outside an image is background.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[IMAGE_HEIGHT, IMAGE_WIDTH],
        # Standardized background is not zero; it is the darkest value of any batch.
        fill_value=tf.reduce_min(images),
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
