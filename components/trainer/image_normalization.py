"""What MNIST's authors did to their scans, done in the graph to whatever people send.

"The original black and white images from NIST were size normalized to fit in a 20x20 pixel box while preserving their
aspect ratio. […] the images were centered in a 28x28 image by computing the center of mass of the pixels, and
translating the image so as to position this point at the center of the 28x28 field." (Y. LeCun, C. Cortes and
C. Burges, http://yann.lecun.com/exdb/mnist/). Measured on their images, that centre is the middle of pixel 14, and the
translation is by whole pixels: so done, most of them come out as they went in.
"""

import tensorflow as tf

from components.features import IMAGE_HEIGHT, IMAGE_WIDTH, MAX_PIXEL
from components.trainer.area_sampling import resample
from components.trainer.image_decoding import decode_luminance, read_headers
from components.trainer.paper import paper_luminance

_BOX = 20.0
_CENTRE = 14.5

# Luminance by which the strongest ink, blurred, has to differ from the paper.
_MIN_INK = 16.0
# The like in standard deviations of the noise.
_MIN_INK_TO_NOISE = 1.6
# Least and most of the strongest ink at which a pixel, blurred or sharp, counts as ink, and what it takes in noise.
_BLURRED_FLOOR = (0.12, 0.4)
_SHARP_FLOOR = (0.03, 0.4)
_BLURRED_TO_NOISE = 1.5
_SHARP_TO_NOISE = 3.0
# Of Gaussian noise the standard deviation is this many times the mean absolute deviation.
_DEVIATION_TO_SIGMA = 1.25
# Pixels that get full ink: as in MNIST there are some in every digit, and one alone may be noise.
_NUM_FULL_PIXELS = 16

_NUM_PARALLEL_IMAGES = 2


def normalize_images(image_bytes: tf.Tensor) -> tf.Tensor:
    """Makes of encoded images what MNIST would have made of them.

    Ink is what differs from the paper, darker or lighter, whichever there is more of; how light the paper is, and how
    noisy, is told by the border.

    Args:
        image_bytes: string[n], PNG, JPEG, GIF or BMP, as `decode_luminance` takes them.

    Returns:
        float32[n,28,28], 0 background to 255 ink, all zero where there is no ink.

    Raises:
        tf.errors.InvalidArgumentError: When it runs: an image cannot be decoded, or is too large.
    """
    # As with pixels: behind this op TensorFlow believes nothing of the shape, and checks it.
    unknown = tf.raw_ops.PlaceholderWithDefault(input=image_bytes, shape=tf.TensorShape(None))
    files = tf.ensure_shape(unknown, [None])
    centred = tf.map_fn(
        lambda image: _centre(*_find_ink(decode_luminance(*image))),
        (tf.range(tf.size(files)), files, *read_headers(files)),
        fn_output_signature=tf.TensorSpec((IMAGE_HEIGHT, IMAGE_WIDTH), tf.float32),
        # Each image in work may be as large as the largest that is allowed.
        parallel_iterations=_NUM_PARALLEL_IMAGES,
    )
    strongest = tf.math.top_k(tf.reshape(centred, [-1, IMAGE_HEIGHT * IMAGE_WIDTH]), _NUM_FULL_PIXELS).values
    full = tf.reduce_mean(strongest, axis=-1)[:, tf.newaxis, tf.newaxis]
    return tf.minimum(tf.math.divide_no_nan(centred * MAX_PIXEL, full), float(MAX_PIXEL))


def _find_ink(luminance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the ink float32[h,w], zero where there is none, and bool[h,w], where it is beyond doubt."""
    depth = paper_luminance(luminance) - luminance
    # Squared, so that a little digit weighs more than the shades of much paper.
    polarity = tf.sign(tf.reduce_sum(depth * tf.abs(depth)))
    ink = tf.nn.relu(depth * polarity)
    border = tf.concat([depth[0], depth[-1], depth[:, 0], depth[:, -1]], axis=0)
    noise = _DEVIATION_TO_SIGMA * tf.reduce_mean(tf.abs(border))
    blurred = _blur(ink)
    strongest = tf.reduce_max(blurred)
    there_is_ink = strongest > tf.maximum(_MIN_INK, _MIN_INK_TO_NOISE * noise)
    kept = there_is_ink & (blurred > _floor(strongest, _BLURRED_TO_NOISE * noise, _BLURRED_FLOOR))
    return tf.where(kept, ink, 0.0), kept & (ink > _floor(strongest, _SHARP_TO_NOISE * noise, _SHARP_FLOOR))


def _blur(ink: tf.Tensor) -> tf.Tensor:
    """Averages over 3x3 pixels: strokes outlast it, specks do not."""
    padded = tf.pad(ink, [[1, 1], [1, 1]])
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def _floor(strongest: tf.Tensor, noise: tf.Tensor, shares: tuple[float, float]) -> tf.Tensor:
    least, most = shares
    return tf.clip_by_value(noise, least * strongest, most * strongest)


def _centre(ink: tf.Tensor, certain: tf.Tensor) -> tf.Tensor:
    """Scales the ink to the box and puts its centre of mass in the middle, float32[28,28]."""
    starts, ends = zip(_extent(tf.reduce_any(certain, axis=1)), _extent(tf.reduce_any(certain, axis=0)), strict=True)
    start, lengths = tf.stack(starts), tf.stack(ends) - tf.stack(starts)
    scale = _BOX / tf.reduce_max(lengths)
    mass = tf.stack([_mean_place(tf.reduce_sum(ink, axis=1)), _mean_place(tf.reduce_sum(ink, axis=0))])
    room = tf.floor(tf.constant([IMAGE_HEIGHT, IMAGE_WIDTH], tf.float32) - scale * lengths)
    # However far it is from the middle to the end of a long tail, nothing is cut off.
    corner = tf.clip_by_value(tf.round(_CENTRE - scale * (mass - start)), 0.0, room)
    return resample(ink, (IMAGE_HEIGHT, IMAGE_WIDTH), tf.stack([scale, scale]), corner - scale * start)


def _extent(taken: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where the first True of bool[n] begins and the last ends, float32[]; all of it where there is none."""
    numbers = tf.cast(taken, tf.int8)
    before, behind = tf.argmax(numbers), tf.argmax(numbers[::-1])
    return tf.cast(before, tf.float32), tf.cast(tf.size(taken, tf.int64) - behind, tf.float32)


def _mean_place(mass: tf.Tensor) -> tf.Tensor:
    places = tf.range(tf.cast(tf.size(mass), tf.float32)) + 0.5
    return tf.math.divide_no_nan(tf.reduce_sum(mass * places), tf.reduce_sum(mass))
