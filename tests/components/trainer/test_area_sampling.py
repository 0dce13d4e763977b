import numpy as np
import pytest
import tensorflow as tf

from components.trainer.area_sampling import resample


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (6, 4)).astype(np.float32)


def sampled(image: np.ndarray, scale: tuple[float, float], shift: tuple[float, float]) -> np.ndarray:
    return resample(tf.constant(image), (8, 8), tf.constant(scale, tf.float32), tf.constant(shift, tf.float32)).numpy()


def test_whole_pixels_move_unchanged(image: np.ndarray) -> None:
    np.testing.assert_array_equal(sampled(image, (1, 1), (1, 3)), np.pad(image, ((1, 1), (3, 1))))


def test_a_reduced_image_holds_means(image: np.ndarray) -> None:
    means = image.reshape(3, 2, 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(sampled(image, (0.5, 0.5), (0, 0)), np.pad(means, ((0, 5), (0, 6))), rtol=1e-6)


def test_an_enlarged_image_repeats_pixels(image: np.ndarray) -> None:
    np.testing.assert_allclose(sampled(image[:4], (2, 2), (0, 0)), image[:4].repeat(2, 0).repeat(2, 1), rtol=1e-6)


def test_half_a_pixel_further_neighbours_are_mixed() -> None:
    line = sampled(np.full((1, 1), 100, np.float32), (1, 1), (2.25, 3.5))
    assert line[2:4, 3:5].tolist() == [[37.5, 37.5], [12.5, 12.5]]


def test_what_leaves_the_new_image_is_cut_off(image: np.ndarray) -> None:
    np.testing.assert_array_equal(sampled(image, (1, 1), (-2, 6))[:4, 6:], image[2:, :2])
