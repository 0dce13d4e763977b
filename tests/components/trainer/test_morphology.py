import numpy as np
import pytest
import tensorflow as tf
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from components.trainer.morphology import close_image, dilate, dilate_columns, open_columns


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(4).uniform(0, 255, (90, 70)).astype(np.float32)


@pytest.mark.parametrize("length", [1, 2, 7, 32, 64, 70])
def test_closing_is_that_of_windows_inside_the_image(image: np.ndarray, length: int) -> None:
    lightest = sliding_window_view(image, (length, length)).max(axis=(2, 3))
    outside = np.pad(lightest, length - 1, constant_values=255)
    darkest = sliding_window_view(outside, (length, length)).min(axis=(2, 3))
    np.testing.assert_array_equal(close_image(tf.constant(image), tf.constant(length)), darkest)


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


def test_dilation_is_that_of_scipy(image: np.ndarray) -> None:
    numbers = image.round().astype(np.int32)
    np.testing.assert_array_equal(dilate_columns(tf.constant(image)), ndimage.grey_dilation(image, (3, 1)))
    np.testing.assert_array_equal(dilate(tf.constant(numbers)), ndimage.grey_dilation(numbers, (3, 3)))
