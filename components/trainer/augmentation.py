"""Augmentation of training batches: every image moves a little, and some are disturbed.

Disturbances accept images float32[n,height,width,channels], 0 background or black to 1 ink or white, and a seed
int64[2], and return images of the same kind; the same seed returns the same images. Their strengths were chosen on
corrupted copies of MNIST's eval split; lengths are in pixels of 28x28 and grow with the image.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from components.trainer.hyperparameters import Hyperparameters

Disturbance = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Stages = Sequence[Sequence[Disturbance]]

_SIDE = 28
"""Side of MNIST's images."""

_STAGE_SHARE = 0.5
"""Share of the disturbed images that a stage changes."""

_LARGEST_GAIN = 2.0
_BOXES = ((3, 3), (5, 5), (1, 7), (7, 1))
_LEAST_CONTRAST = 0.2
_LARGEST_REPLACED_SHARE = 0.25
_LARGEST_NOISE = 0.35

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


def augment(
    images: tf.Tensor, hyperparameters: Hyperparameters, seed: tf.Tensor, progress: float | tf.Tensor = 0.0
) -> tf.Tensor:
    """Moves all images of a batch, and disturbs some of them.

    The other images look like clean ones and keep the accuracy on them. The disturbed ones teach the network to
    recognize a class whatever the light, the pen and the dirt. They belong to the same families as the corruptions of
    the robustness gate (motion, blur, light, noise, occlusion, outlines), but none is made by the same procedure: the
    gate measures how the model handles what it has not seen. No image is mirrored, because letters would change.

    Args:
        images: float32[n,height,width,channels], standardized; the batch ranges from background to full ink, or from
            black to white.
        hyperparameters: The largest rotation, zoom, shear and shift, and the share of disturbed images; all zero
            changes nothing. With the preparation `ink`, images are drawings on background.
        seed: int64[2]; the same seed returns the same images.
        progress: Share of the training that is done, float32[]. Fewer and fewer images are disturbed, so that the
            network ends with images like those of the data.

    Returns:
        float32[n,height,width,channels], standardized.
    """
    choice_seed, move_seed, disturbance_seed = _split_seed(seed, 3)
    draws = tf.random.stateless_uniform([tf.shape(images)[0]], choice_seed)
    disturbed = draws < hyperparameters.disturbed_share * (1 - progress)
    transforms = affine_transforms(tf.shape(images)[0], _size(images), hyperparameters, move_seed)
    moved = move(images, transforms, repeat_edge=hyperparameters.preparation == "resize")
    if not hyperparameters.disturbed_share:
        return moved
    background, ink = tf.reduce_min(images), tf.reduce_max(images)
    unit = tf.math.divide_no_nan(moved - background, ink - background)
    stages = STAGES[hyperparameters.preparation]
    return disturb(unit, disturbed, stages, disturbance_seed) * (ink - background) + background


def affine_transforms(
    num_images: int | tf.Tensor, size: tuple[int, int], hyperparameters: Hyperparameters, seed: tf.Tensor
) -> tf.Tensor:
    """Draws one random affine transform per image, around the center of the image.

    Args:
        num_images: Number of transforms, int32[].
        size: Height and width of the images.
        hyperparameters: The largest rotation, zoom, shear and shift; all zero returns the identity.
        seed: int64[2].

    Returns:
        float32[n,8], the format of `ImageProjectiveTransformV3`: the first eight numbers of the matrix that maps a
        point of the output to a point of the input.
    """
    rows, columns = size
    limits = (
        math.radians(hyperparameters.rotation),
        hyperparameters.shear,
        # As logarithms, so that an image shrinks as much as it grows, and never to nothing.
        math.log1p(hyperparameters.zoom),
        math.log1p(hyperparameters.zoom),
        hyperparameters.shift * columns / _SIDE,
        hyperparameters.shift * rows / _SIDE,
    )
    draws = tf.random.stateless_uniform([len(limits), num_images], seed, minval=-1.0)
    angle, shear, zoom_x, zoom_y, shift_x, shift_y = tf.unstack(draws * tf.constant(limits)[:, tf.newaxis])
    width, height = tf.exp(zoom_x), tf.exp(zoom_y)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    xx, xy = cosine * width, (cosine * shear - sine) * height
    yx, yy = sine * width, (sine * shear + cosine) * height
    center_x, center_y = (columns - 1) / 2, (rows - 1) / 2
    x = center_x - xx * center_x - xy * center_y + shift_x
    y = center_y - yx * center_x - yy * center_y + shift_y
    zeros = tf.zeros_like(angle)
    return tf.stack([xx, xy, x, yx, yy, y, zeros, zeros], axis=1)


def move(images: tf.Tensor, transforms: tf.Tensor, *, repeat_edge: bool) -> tf.Tensor:
    """Applies one transform to each image.

    Args:
        images: float32[n,height,width,channels]; at least one pixel of the batch is background.
        transforms: float32[n,8], from `affine_transforms`.
        repeat_edge: Whether the outside of an image is like its edge, otherwise background.

    Returns:
        float32[n,height,width,channels], interpolated bilinearly.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=_size(images),
        # Standardized background is not zero; it is the darkest value of any batch.
        fill_value=tf.reduce_min(images),
        interpolation="BILINEAR",
        fill_mode="NEAREST" if repeat_edge else "CONSTANT",
    )


def disturb(images: tf.Tensor, disturbed: tf.Tensor, stages: Stages, seed: tf.Tensor) -> tf.Tensor:
    """Passes images through stages; each stage changes half of the images to disturb.

    Args:
        images: float32[n,height,width,channels], 0 to 1.
        disturbed: bool[n], which images may change.
        stages: Disturbances by stage.
        seed: int64[2].

    Returns:
        float32[n,height,width,channels], 0 to 1.
    """
    shape = images.shape
    for disturbances, stage_seed in zip(stages, _split_seed(seed, len(stages)), strict=True):
        num_kinds = len(disturbances)
        choice_seed, *seeds = _split_seed(stage_seed, 1 + num_kinds)
        draws = tf.random.stateless_uniform(tf.shape(disturbed), choice_seed)
        chosen = tf.cast(draws / _STAGE_SHARE * num_kinds, tf.int32)
        groups = tf.where(disturbed & (draws < _STAGE_SHARE), chosen, num_kinds)
        # Each disturbance gets only the images that it changes: applying all of them to all images takes too long.
        *parts, unchanged = tf.dynamic_partition(images, groups, num_kinds + 1)
        positions = tf.dynamic_partition(tf.range(tf.size(groups)), groups, num_kinds + 1)
        changed = [change(part, each) for change, part, each in zip(disturbances, parts, seeds, strict=True)]
        images = tf.ensure_shape(tf.dynamic_stitch(positions, [*changed, unchanged]), shape)
    return images


def redraw(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws strokes with a thicker or thinner pen, or only their outlines: outside, inside or both."""
    choice_seed, gain_seed = _split_seed(seed, 2)
    wide, narrow = _box(images, 3, 3), _box(images, 2, 2)
    thicker = tf.nn.max_pool2d(images, wide, 1, "SAME")
    without_rim = -tf.nn.max_pool2d(-images, wide, 1, "SAME")
    # Two by two pixels: with three, most of MNIST's strokes would vanish.
    thinner = -tf.nn.max_pool2d(-images, narrow, 1, "SAME")
    drawn = tf.stack([thicker, thinner, thicker - images, images - without_rim, thicker - without_rim], axis=1)
    choice = tf.random.stateless_uniform([tf.shape(images)[0]], choice_seed, maxval=drawn.shape[1], dtype=tf.int32)
    gain = _per_image(images, gain_seed, 1.0, _LARGEST_GAIN)
    return tf.clip_by_value(tf.gather(drawn, choice, batch_dims=1) * gain, 0.0, 1.0)


def blur(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mixes each image with its means over boxes of several shapes, with random weights."""
    sources = tf.stack([images, *(tf.nn.avg_pool2d(images, _box(images, *box), 1, "SAME") for box in _BOXES)])
    # Cubed, so that mostly one of them prevails.
    weights = tf.random.stateless_uniform([len(_BOXES) + 1, tf.shape(images)[0], 1, 1, 1], seed) ** 3
    return tf.math.divide_no_nan(tf.reduce_sum(sources * weights, axis=0), tf.reduce_sum(weights, axis=0))


def light_unevenly(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Reduces contrast and adds light, which is random in each corner and interpolated between them."""
    contrast_seed, light_seed = _split_seed(seed, 2)
    contrast = tf.exp(_per_image(images, contrast_seed, math.log(_LEAST_CONTRAST), 0.0))
    corners = tf.random.stateless_uniform([tf.shape(images)[0], 2, 2, 1], light_seed)
    return images * contrast + tf.image.resize(corners, _size(images)) * (1 - contrast)


def roughen(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Replaces random pixels with random grays, and adds Gaussian noise."""
    share_seed, replaced_seed, gray_seed, strength_seed, noise_seed = _split_seed(seed, 5)
    # Squared, so that little is more common than much.
    share = _LARGEST_REPLACED_SHARE * _per_image(images, share_seed) ** 2
    strength = _LARGEST_NOISE * _per_image(images, strength_seed) ** 2
    replaced = tf.random.stateless_uniform(tf.shape(images), replaced_seed) < share
    images = tf.where(replaced, tf.random.stateless_uniform(tf.shape(images), gray_seed), images)
    return tf.clip_by_value(images + strength * tf.random.stateless_normal(tf.shape(images), noise_seed), 0.0, 1.0)


def paint_rectangle(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Inverts a random rectangle of each image, or hides it behind a gray one unless it is large."""
    corner_seed, kind_seed, gray_seed = _split_seed(seed, 3)
    # Corners may lie outside: some rectangles become bands from edge to edge.
    limits = (-_CORNER_MARGIN, _SIDE + _CORNER_MARGIN)
    corners = tf.random.stateless_uniform([4, tf.shape(images)[0], 1, 1], corner_seed, *limits)
    top, bottom, left, right = tf.unstack(corners)
    rows, columns = _places(images)
    between_rows = (rows - top) * (rows - bottom) <= 0
    between_columns = (columns - left) * (columns - right) <= 0
    inside = (between_rows & between_columns)[..., tf.newaxis]
    # A large one would hide the whole drawing.
    large = tf.reduce_mean(tf.cast(inside, tf.float32), axis=[1, 2, 3], keepdims=True) > _LARGE_RECTANGLE
    inverted = large | (_per_image(images, kind_seed) < _INVERTED_SHARE)
    return tf.where(inside, tf.where(inverted, 1 - images, _per_image(images, gray_seed)), images)


def draw_strokes(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws a few straight strokes over each image, from dots to lines across it, in ink or with an eraser."""
    stroke_seed, strength_seed, kind_seed = _split_seed(seed, 3)
    strokes = _strokes(images, stroke_seed) * _per_image(images, strength_seed, _FAINTEST_STROKE)
    erasing = _per_image(images, kind_seed) < _ERASING_SHARE
    return tf.where(erasing, images * (1 - strokes), tf.maximum(images, strokes))


STAGES: Mapping[str, Stages] = {
    "ink": ((redraw, blur), (light_unevenly, paint_rectangle), (roughen, draw_strokes)),
    "resize": ((blur,), (light_unevenly, paint_rectangle), (roughen,)),
}
"""By preparation, disturbances by stage, in the order in which they happen in reality: pen, paper, then dirt."""


def _size(images: tf.Tensor) -> tuple[int, int]:
    """Returns height and width."""
    return images.shape[1], images.shape[2]


def _places(images: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Returns where pixels are in an image of 28x28, float32[height,1] and float32[1,width]."""
    rows, columns = (np.arange(length, dtype=np.float32) * np.float32(_SIDE / length) for length in _size(images))
    return rows[:, np.newaxis], columns[np.newaxis, :]


def _box(images: tf.Tensor, *sides: int) -> list[int]:
    """Returns a box in pixels of 28x28 in those of images; a side of one pixel stays one."""
    return [1 + round((side - 1) * length / _SIDE) for side, length in zip(sides, _size(images), strict=True)]


def _strokes(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    shape = [tf.shape(images)[0], _NUM_STROKES, 1, 1]
    draws = (tf.random.stateless_uniform(shape, each) for each in _split_seed(seed, 6))
    row, column, angle, length, radius, drawn = draws
    # Squared, so that most strokes are short and thin.
    half_length, radius = _LONGEST_STROKE / 2 * length**2, _LARGEST_STROKE_RADIUS * radius**2
    rows, columns = _places(images)
    down = rows - (row * (_SIDE + 2 * _STROKE_MARGIN) - _STROKE_MARGIN)
    right = columns - (column * (_SIDE + 2 * _STROKE_MARGIN) - _STROKE_MARGIN)
    sine, cosine = tf.sin(2 * math.pi * angle), tf.cos(2 * math.pi * angle)
    along = tf.clip_by_value(down * sine + right * cosine, -half_length, half_length)
    distance = tf.sqrt((down - along * sine) ** 2 + (right - along * cosine) ** 2)
    ink = tf.where(drawn < _STROKE_SHARE, tf.clip_by_value(radius + 1 - distance, 0.0, 1.0), 0.0)
    return tf.reduce_max(ink, axis=1)[..., tf.newaxis]


def _split_seed(seed: tf.Tensor, num_seeds: int) -> list[tf.Tensor]:
    return tf.unstack(tf.random.experimental.stateless_split(seed, num_seeds))


def _per_image(images: tf.Tensor, seed: tf.Tensor, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """Draws one number per image between `low` and `high`, float32[n,1,1,1]."""
    return tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 1], seed, low, high)
