import numpy as np
import tensorflow as tf

from components.trainer.affine import affine_transforms, move
from components.trainer.hyperparameters import NO_AUGMENTATION, Hyperparameters

STILL = Hyperparameters(**NO_AUGMENTATION)
SEED = tf.constant([1, 2], tf.int64)


def transforms(num_images: int, reach: float = 1.0, **limits: float) -> np.ndarray:
    return affine_transforms(tf.fill([num_images], reach), STILL.model_copy(update=limits), SEED).numpy()


def test_limits_of_zero_are_the_identity() -> None:
    np.testing.assert_array_equal(transforms(20), np.tile([1, 0, 0, 0, 1, 0, 0, 0], (20, 1)))


def test_every_image_gets_a_transform_of_its_own_within_the_limits() -> None:
    drawn = transforms(50, shift=3.0)
    shifts = drawn[:, [2, 5]]
    assert len(np.unique(shifts)) == 100
    assert np.abs(shifts).max() <= 3
    assert np.abs(shifts).max() > 2
    np.testing.assert_array_equal(drawn[:, [0, 1, 3, 4, 6, 7]], np.tile([1, 0, 0, 1, 0, 0], (50, 1)))


def test_reach_multiplies_the_limits_of_each_image() -> None:
    hyperparameters = STILL.model_copy(update={"shift": 3.0})
    near = affine_transforms(tf.ones([50]), hyperparameters, SEED).numpy()[:, [2, 5]]
    reach = np.repeat([1, 2], 25).astype(np.float32)
    far = affine_transforms(tf.constant(reach), hyperparameters, SEED).numpy()[:, [2, 5]]
    np.testing.assert_allclose(far, near * reach[:, np.newaxis], rtol=1e-5)


def test_rotation_keeps_the_centre() -> None:
    for a, b, x, c, d, y, *_ in transforms(20, rotation=90.0):
        np.testing.assert_allclose(np.array([[a, b], [c, d]]) @ [13.5, 13.5] + [x, y], [13.5, 13.5], atol=1e-4)
        np.testing.assert_allclose(np.linalg.det([[a, b], [c, d]]), 1, atol=1e-5)


def test_zoom_shrinks_as_much_as_it_grows() -> None:
    widths = transforms(2000, zoom=0.25)[:, 0]
    np.testing.assert_allclose([widths.min(), widths.max()], [1 / 1.25, 1.25], rtol=0.01)


def test_background_comes_in_from_outside() -> None:
    background = np.full((50, 28, 28, 1), -0.4, np.float32)
    moved = move(tf.constant(background), tf.constant(transforms(50, shift=20.0)))
    np.testing.assert_allclose(moved, background, atol=1e-5)


def test_images_move_as_their_transforms_say() -> None:
    image = np.zeros((1, 28, 28, 1), np.float32)
    image[0, 10, 20] = 1
    # To each point of the output belongs the point of the input two columns and one row further.
    moved = move(tf.constant(image), tf.constant([[1, 0, 2, 0, 1, 1, 0, 0]], tf.float32)).numpy()
    assert np.argwhere(moved[0, ..., 0] == 1).tolist() == [[9, 18]]
