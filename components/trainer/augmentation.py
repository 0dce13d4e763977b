"""Random affine augmentation of training batches: digits turn, stretch, slant and move, as handwriting does."""

import math

import tensorflow as tf

from components.features import IMAGE_HEIGHT, IMAGE_WIDTH
from components.trainer.hyperparameters import Hyperparameters


def affine_transforms(num_images: tf.Tensor | int, hyperparameters: Hyperparameters, seed: tf.Tensor) -> tf.Tensor:
    """Draws one random affine transform per image, about the image's centre.

    Args:
        num_images: Number of transforms, a scalar int32.
        hyperparameters: The largest rotation, zoom, shear and shift; all zero gives the identity.
        seed: int64[2]; the same seed draws the same transforms.

    Returns:
        float32[n,8]: for each image the first eight numbers of the projective matrix that maps a point of the output
        to a point of the input, as `ImageProjectiveTransformV3` takes it.
    """
    limits = (
        math.radians(hyperparameters.rotation),
        hyperparameters.shear,
        hyperparameters.zoom,
        hyperparameters.zoom,
        hyperparameters.shift,
        hyperparameters.shift,
    )
    draws = tf.random.stateless_uniform([len(limits), num_images], seed, minval=-1.0)
    angle, shear, zoom_x, zoom_y, shift_x, shift_y = tf.unstack(draws * tf.constant(limits)[:, tf.newaxis])
    width, height = 1 + zoom_x, 1 + zoom_y
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


def augment(images: tf.Tensor, hyperparameters: Hyperparameters, seed: tf.Tensor) -> tf.Tensor:
    """Applies a random affine transform of its own to each image of a batch.

    Args:
        images: float32[n,28,28,1], standardized.
        hyperparameters: The largest rotation, zoom, shear and shift.
        seed: int64[2]; the same seed gives the same images.

    Returns:
        float32[n,28,28,1]: bilinear samples; what lies outside an image is background.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=affine_transforms(tf.shape(images)[0], hyperparameters, seed),
        output_shape=[IMAGE_HEIGHT, IMAGE_WIDTH],
        # Standardized background is not zero; it is the darkest value of any batch.
        fill_value=tf.reduce_min(images),
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
