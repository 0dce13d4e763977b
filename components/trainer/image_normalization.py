"""Normalizes encoded images in the graph as the authors of MNIST normalized their scans.

"The original black and white images from NIST were size normalized to fit in a 20x20 pixel box while preserving their
aspect ratio. […] the images were centered in a 28x28 image by computing the center of mass of the pixels, and
translating the image so as to position this point at the center of the 28x28 field." (Y. LeCun, C. Cortes and
C. Burges, http://yann.lecun.com/exdb/mnist/). Measured on their images, that center is the middle of pixel 14, and the
translation is by whole pixels: normalized this way, most of their images do not change.
"""

import tensorflow as tf

from components.features import MAX_PIXEL
from components.image_decoding import decode_contrast
from components.trainer.ink_components import extents
from components.trainer.ink_detection import find_ink, trim_edges
from components.trainer.resampling import resample

# In an image of 28x28 pixels.
_SIDE, _BOX = 28, 20
# The middle of the pixel behind the center.
_CENTER_OFFSET = 0.5

# Pixels of 28x28 that get full ink: as in MNIST, every digit has some; a single one may be noise.
_NUM_FULL_PIXELS = 16

_NUM_PARALLEL_IMAGES = 2


def normalize_images(files: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Converts encoded images to images like those of MNIST.

    Ink is what differs from the paper, darker or lighter, whichever there is more of.

    Args:
        files: string[n], PNG, JPEG, GIF or BMP, from `limited_files`.
        height: Rows of the result, 28 in MNIST.
        width: Columns of the result, 28 in MNIST.

    Returns:
        float32[n,height,width], 0 background to 255 ink, all zero where there is no ink; and bool[n], whether there are
        several drawings.

    Raises:
        tf.errors.InvalidArgumentError: At run time: an image is damaged.
    """

    def center(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ink, certain, are_several = find_ink(trim_edges(decode_contrast(file)))
        return _center(ink, certain, (height, width)), are_several

    centered, are_several = tf.map_fn(
        center,
        files,
        # Each of these images may be as large as the largest that is allowed.
        parallel_iterations=_NUM_PARALLEL_IMAGES,
        fn_output_signature=(tf.TensorSpec((height, width)), tf.TensorSpec((), tf.bool)),
    )
    num_full = max(1, _NUM_FULL_PIXELS * height * width // _SIDE**2)
    strongest = tf.math.top_k(tf.reshape(centered, [-1, height * width]), num_full).values
    full = tf.reduce_mean(strongest, axis=-1)[:, tf.newaxis, tf.newaxis]
    return tf.minimum(tf.math.divide_no_nan(centered * MAX_PIXEL, full), float(MAX_PIXEL)), are_several


def _center(ink: tf.Tensor, certain: tf.Tensor, shape: tuple[int, int]) -> tf.Tensor:
    """Scales the ink to the box and moves its center of mass to the middle of an image of that shape."""
    start, end = tf.unstack(tf.cast(tf.stack(extents(certain)), tf.float32), axis=1)
    lengths = end - start
    scale = min(shape) * _BOX / _SIDE / tf.reduce_max(lengths)
    mass = tf.stack([_mean_place(tf.reduce_sum(ink, axis=1)), _mean_place(tf.reduce_sum(ink, axis=0))])
    size = tf.constant(shape, tf.float32)
    room = tf.floor(size - scale * lengths)
    # Even a long tail is not cut off.
    corner = tf.clip_by_value(tf.round(size // 2 + _CENTER_OFFSET - scale * (mass - start)), 0.0, room)
    return resample(ink, shape, tf.stack([scale, scale]), corner - scale * start)


def _mean_place(mass: tf.Tensor) -> tf.Tensor:
    places = tf.range(tf.cast(tf.size(mass), tf.float32)) + 0.5
    return tf.math.divide_no_nan(tf.reduce_sum(mass * places), tf.reduce_sum(mass))
