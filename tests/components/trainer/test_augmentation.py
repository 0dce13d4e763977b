import numpy as np
import pytest
import tensorflow as tf

from components.trainer.augmentation import affine_transforms, augment
from components.trainer.hyperparameters import Hyperparameters

NONE = Hyperparameters(rotation=0, zoom=0, shear=0, shift=0)
SEED = tf.constant([1, 2], tf.int64)


@pytest.fixture
def images() -> tf.Tensor:
    images = np.full((50, 28, 28, 1), -0.4, np.float32)
    images[:, 10:18, 12:16] = 2.8
    return tf.constant(images)


def test_limits_of_zero_change_nothing(images: tf.Tensor) -> None:
    np.testing.assert_allclose(augment(images, NONE, SEED), images, atol=1e-5)


def test_background_comes_in_from_outside() -> None:
    background = np.full((50, 28, 28, 1), -0.4, np.float32)
    shifted = augment(tf.constant(background), NONE.model_copy(update={"shift": 20.0}), SEED)
    np.testing.assert_allclose(shifted, background, atol=1e-5)


def test_every_image_gets_a_transform_of_its_own_within_the_limits(images: tf.Tensor) -> None:
    transforms = affine_transforms(50, NONE.model_copy(update={"shift": 3.0}), SEED).numpy()
    shifts = transforms[:, [2, 5]]
    assert len(np.unique(shifts)) == 100
    assert np.abs(shifts).max() <= 3
    assert np.abs(shifts).max() > 2
    np.testing.assert_array_equal(transforms[:, [0, 1, 3, 4, 6, 7]], np.tile([1, 0, 0, 1, 0, 0], (50, 1)))


def test_rotation_keeps_the_centre() -> None:
    transforms = affine_transforms(20, NONE.model_copy(update={"rotation": 90.0}), SEED).numpy()
    for a, b, x, c, d, y, *_ in transforms:
        np.testing.assert_allclose(np.array([[a, b], [c, d]]) @ [13.5, 13.5] + [x, y], [13.5, 13.5], atol=1e-4)
        np.testing.assert_allclose(np.linalg.det([[a, b], [c, d]]), 1, atol=1e-5)


def test_the_seed_decides(images: tf.Tensor) -> None:
    limits = Hyperparameters()
    np.testing.assert_array_equal(augment(images, limits, SEED), augment(images, limits, SEED))
    assert not np.array_equal(augment(images, limits, SEED), augment(images, limits, SEED + 1))
