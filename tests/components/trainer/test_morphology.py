import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from components.trainer.morphology import LONGEST_WINDOW, close_image, open_columns


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(4).uniform(0, 255, (90, 70)).astype(np.float32)


@pytest.mark.parametrize("length", [1, 2, 7, 32, LONGEST_WINDOW])
def test_closing_is_that_of_scipy_inside_the_image(image: np.ndarray, length: int) -> None:
    # Outside, nothing is lighter, and nothing darker remains.
    outside = np.pad(image, length)
    lightest = ndimage.maximum_filter(outside, length, mode="constant", origin=-(length // 2))
    inside = lightest[length : 2 * length + 90 - 2 * length + 1, length : 2 * length + 70 - 2 * length + 1]
    windows = np.pad(inside, length - 1, constant_values=255)
    darkest = ndimage.minimum_filter(windows, length, mode="constant", cval=255, origin=-(length // 2))
    np.testing.assert_array_equal(close_image(tf.constant(image), tf.constant(length)), darkest[:90, :70])


def test_closing_fills_strokes_and_strips_but_no_shadow() -> None:
    page = np.full((60, 60), 200, np.float32)
    page[:, 40:] = 100
    drawn = page.copy()
    drawn[10:50, 18:24] = 20
    drawn[:5] = 50
    np.testing.assert_array_equal(close_image(tf.constant(drawn), tf.constant(12)), page)


@pytest.mark.parametrize("length", [1, 3, 8])
def test_opening_of_columns_is_that_of_scipy(image: np.ndarray, length: int) -> None:
    # Values repeat outside, so that windows inside the image decide.
    expected = ndimage.grey_opening(np.pad(image, ((length, length), (0, 0))), (length, 1))[length:-length]
    np.testing.assert_array_equal(open_columns(tf.constant(image), tf.constant(length)), expected)
