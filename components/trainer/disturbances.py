"""What can happen to the whole image of a digit: another pen, no focus, another light, a poor sensor.

All take images float32[n,28,28,1], 0 background to 1 ink, and a seed int64[2], and return images of the same kind; the
same seed gives the same images. How strong each is was chosen on corrupted copies of the eval split.
"""

import math

import tensorflow as tf

from components.features import IMAGE_HEIGHT, IMAGE_WIDTH
from components.trainer.random_draws import per_image, split_seed

_LARGEST_GAIN = 2.0
_BOXES = ((3, 3), (5, 5), (1, 7), (7, 1))
_LEAST_CONTRAST = 0.2
_LARGEST_REPLACED_SHARE = 0.25
_LARGEST_NOISE = 0.35


def redraw(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws digits with a thicker pen, a thinner one, or only their outlines: outside, inside or both."""
    choice_seed, gain_seed = split_seed(seed, 2)
    thicker = tf.nn.max_pool2d(images, 3, 1, "SAME")
    without_rim = -tf.nn.max_pool2d(-images, 3, 1, "SAME")
    # Two by two pixels: three would make most digits vanish.
    thinner = -tf.nn.max_pool2d(-images, 2, 1, "SAME")
    drawn = tf.stack([thicker, thinner, thicker - images, images - without_rim, thicker - without_rim], axis=1)
    choice = tf.random.stateless_uniform([tf.shape(images)[0]], choice_seed, maxval=drawn.shape[1], dtype=tf.int32)
    gain = per_image(images, gain_seed, 1.0, _LARGEST_GAIN)
    return tf.clip_by_value(tf.gather(drawn, choice, batch_dims=1) * gain, 0.0, 1.0)


def blur(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mixes each image with means over boxes of several shapes, by random weights."""
    sources = tf.stack([images, *(tf.nn.avg_pool2d(images, box, 1, "SAME") for box in _BOXES)])
    # Cubed, so that mostly one of them prevails.
    weights = tf.random.stateless_uniform([len(_BOXES) + 1, tf.shape(images)[0], 1, 1, 1], seed) ** 3
    return tf.math.divide_no_nan(tf.reduce_sum(sources * weights, axis=0), tf.reduce_sum(weights, axis=0))


def light_unevenly(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Takes contrast away and fills it with light: of random strength in each corner, and even between them."""
    contrast_seed, light_seed = split_seed(seed, 2)
    contrast = tf.exp(per_image(images, contrast_seed, math.log(_LEAST_CONTRAST), 0.0))
    corners = tf.random.stateless_uniform([tf.shape(images)[0], 2, 2, 1], light_seed)
    return images * contrast + tf.image.resize(corners, (IMAGE_HEIGHT, IMAGE_WIDTH)) * (1 - contrast)


def roughen(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Replaces random pixels by random greys, and adds Gaussian noise."""
    share_seed, replaced_seed, grey_seed, strength_seed, noise_seed = split_seed(seed, 5)
    # Squared, so that little is more common than much.
    share = _LARGEST_REPLACED_SHARE * per_image(images, share_seed) ** 2
    strength = _LARGEST_NOISE * per_image(images, strength_seed) ** 2
    replaced = tf.random.stateless_uniform(tf.shape(images), replaced_seed) < share
    images = tf.where(replaced, tf.random.stateless_uniform(tf.shape(images), grey_seed), images)
    return tf.clip_by_value(images + strength * tf.random.stateless_normal(tf.shape(images), noise_seed), 0.0, 1.0)
