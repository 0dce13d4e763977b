from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.disturbances import blur, light_unevenly, redraw, roughen

SEED = tf.constant([1, 2], tf.int64)
Disturbance = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@pytest.fixture
def images() -> tf.Tensor:
    """Bars of 8 rows and 4 columns."""
    images = np.zeros((300, 28, 28, 1), np.float32)
    images[:, 10:18, 12:16] = 1
    return tf.constant(images)


@pytest.mark.parametrize("disturb", [redraw, blur, light_unevenly, roughen])
def test_each_image_is_disturbed_in_its_own_way_and_stays_an_image(images: tf.Tensor, disturb: Disturbance) -> None:
    disturbed = disturb(images, SEED).numpy()
    assert disturbed.shape == images.shape
    assert disturbed.dtype == np.float32
    assert disturbed.min() >= 0
    assert disturbed.max() <= 1 + 1e-6
    assert len(np.unique(disturbed.reshape(300, -1), axis=0)) >= 5
    np.testing.assert_array_equal(disturbed, disturb(images, SEED))
    assert not np.array_equal(disturbed, disturb(images, SEED + 1))


@pytest.mark.parametrize("disturb", [redraw, blur, light_unevenly, roughen])
def test_no_images(disturb: Disturbance) -> None:
    assert disturb(tf.zeros([0, 28, 28, 1]), SEED).shape == (0, 28, 28, 1)


def test_bars_become_thicker_thinner_or_hollow(images: tf.Tensor) -> None:
    redrawn = redraw(images, SEED).numpy()
    areas = np.unique((redrawn > 0).sum(axis=(1, 2, 3)), return_counts=True)
    thicker, thinner, outside, inside = 10 * 6, 7 * 3, 10 * 6 - 8 * 4, 8 * 4 - 6 * 2
    expected = {thicker: 60, thinner: 60, outside: 60, inside: 60, 10 * 6 - 6 * 2: 60}
    assert dict(zip(*map(np.ndarray.tolist, areas), strict=True)) == pytest.approx(expected, abs=25)


def test_faint_lines_are_made_stronger(images: tf.Tensor) -> None:
    brightest = redraw(images / 4, SEED).numpy().max(axis=(1, 2, 3))
    assert [brightest.min(), brightest.max()] == pytest.approx([0.25, 0.5], abs=0.01)


def test_blur_spreads_ink_and_loses_none(images: tf.Tensor) -> None:
    blurred = blur(images, SEED).numpy()
    np.testing.assert_allclose(blurred.sum(axis=(1, 2, 3)), 32, rtol=1e-4)
    assert (blurred[:, 9, 13] > 0).all()


def test_light_takes_contrast_from_whole_images(images: tf.Tensor) -> None:
    contrast = (light_unevenly(tf.ones_like(images), SEED) - light_unevenly(tf.zeros_like(images), SEED)).numpy()
    np.testing.assert_allclose(contrast.min(axis=(1, 2, 3)), contrast.max(axis=(1, 2, 3)), atol=1e-5)
    assert [contrast.min(), contrast.max()] == pytest.approx([0.2, 1], abs=0.02)


def test_light_falls_from_the_corners(images: tf.Tensor) -> None:
    grounds = light_unevenly(tf.zeros_like(images), SEED).numpy()[..., 0]
    ranges = np.ptp(grounds, axis=(1, 2))
    assert ranges.min() < 0.1
    assert ranges.max() > 0.5
    corners = grounds[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(grounds.min(axis=(1, 2)), corners.min(axis=1), atol=1e-6)
    np.testing.assert_allclose(grounds.max(axis=(1, 2)), corners.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(grounds[:, 13:15, 13:15].mean(axis=(1, 2)), corners.mean(axis=1), atol=1e-5)


def test_noise_is_from_hardly_visible_to_strong(images: tf.Tensor) -> None:
    changes = np.abs(roughen(tf.ones_like(images) / 2, SEED) - 0.5)
    # The median knows nothing of the few pixels that are replaced.
    strengths = np.median(changes, axis=(1, 2, 3))
    assert strengths.min() < 0.01
    assert strengths.max() > 0.15


def test_some_pixels_are_replaced_whatever_they_showed(images: tf.Tensor) -> None:
    white, black = roughen(tf.ones_like(images), SEED).numpy(), roughen(tf.zeros_like(images), SEED).numpy()
    replaced = (np.abs(white - black) < 1e-6).mean(axis=(1, 2, 3))
    assert replaced.min() < 0.01
    assert 0.15 < replaced.max() < 0.3
