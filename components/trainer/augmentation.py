"""Augmentation of training batches: every digit moves a little, and some are disturbed as clean data never shows."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from components.features import IMAGE_SHAPE
from components.trainer.affine import affine_transforms, move
from components.trainer.disturbances import blur, light_unevenly, redraw, roughen
from components.trainer.hyperparameters import Hyperparameters
from components.trainer.overlays import draw_strokes, paint_rectangle
from components.trainer.random_draws import split_seed

Disturbance = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From images float32[n,28,28,1], 0 background to 1 ink, and a seed int64[2] to images of the same kind."""

STAGES: Sequence[Sequence[Disturbance]] = (
    (redraw, blur),
    (light_unevenly, paint_rectangle),
    (roughen, draw_strokes),
)
"""What may become of a disturbed image, one stage after the other, as things happen: pen, paper, then dirt."""

_FURTHER = 2.5
"""By how much disturbed images move further than the others."""

_STAGE_SHARE = 0.5
"""Share of the disturbed images that a stage changes."""


def augment(images: tf.Tensor, hyperparameters: Hyperparameters, seed: tf.Tensor) -> tf.Tensor:
    """Moves all images of a batch, and disturbs some of them.

    Images that are not disturbed are as people write them: they keep the accuracy on clean images. The disturbed ones
    teach the network what a digit is whatever the light, the pen and the dirt. They are of the same families as the
    corruptions that robustness is judged by (motion, blur, light, noise, occlusion, outlines), but none is made by
    the same procedure: the gate asks whether the model withstands what it has not seen.

    Args:
        images: float32[n,28,28,1], standardized; over the batch they reach from background to full ink.
        hyperparameters: The largest rotation, zoom, shear and shift, and the share of disturbed images; all zero
            changes nothing.
        seed: int64[2]; the same seed gives the same images.

    Returns:
        float32[n,28,28,1], standardized.
    """
    choice_seed, move_seed, disturbance_seed = split_seed(seed, 3)
    draws = tf.random.stateless_uniform([tf.shape(images)[0]], choice_seed)
    disturbed = draws < hyperparameters.disturbed_share
    transforms = affine_transforms(tf.where(disturbed, _FURTHER, 1.0), hyperparameters, move_seed)
    moved = move(images, transforms)
    if not hyperparameters.disturbed_share:
        return moved
    background, ink = tf.reduce_min(images), tf.reduce_max(images)
    unit = tf.math.divide_no_nan(moved - background, ink - background)
    return disturb(unit, disturbed, disturbance_seed) * (ink - background) + background


def disturb(images: tf.Tensor, disturbed: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Sends images through all stages, each of which changes half of those that are to be disturbed.

    Args:
        images: float32[n,28,28,1], 0 background to 1 ink.
        disturbed: bool[n], which of them may change.
        seed: int64[2].

    Returns:
        float32[n,28,28,1], 0 to 1.
    """
    for disturbances, stage_seed in zip(STAGES, split_seed(seed, len(STAGES)), strict=True):
        images = _stage(images, disturbed, disturbances, stage_seed)
    return images


def _stage(images: tf.Tensor, disturbed: tf.Tensor, disturbances: Sequence[Disturbance], seed: tf.Tensor) -> tf.Tensor:
    choice_seed, *seeds = split_seed(seed, 1 + len(disturbances))
    draws = tf.random.stateless_uniform(tf.shape(disturbed), choice_seed)
    # Each disturbance gets only the images that it is to change: doing all of them to all images takes too long.
    chosen = tf.cast(draws / _STAGE_SHARE * len(disturbances), tf.int32)
    groups = tf.where(disturbed & (draws < _STAGE_SHARE), chosen, len(disturbances))
    parts = tf.dynamic_partition(images, groups, len(disturbances) + 1)
    positions = tf.dynamic_partition(tf.range(tf.size(groups)), groups, len(disturbances) + 1)
    *chosen_parts, unchanged = parts
    changed = [change(part, each) for change, part, each in zip(disturbances, chosen_parts, seeds, strict=True)]
    return tf.ensure_shape(tf.dynamic_stitch(positions, [*changed, unchanged]), [None, *IMAGE_SHAPE])
