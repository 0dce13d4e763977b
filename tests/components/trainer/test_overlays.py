from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.overlays import draw_strokes, paint_rectangle

SEED = tf.constant([1, 2], tf.int64)
Disturbance = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@pytest.fixture
def images() -> tf.Tensor:
    return tf.fill([400, 28, 28, 1], 0.1)


@pytest.mark.parametrize("overlay", [paint_rectangle, draw_strokes])
def test_each_image_gets_its_own_overlay_and_stays_an_image(images: tf.Tensor, overlay: Disturbance) -> None:
    overlaid = overlay(images, SEED).numpy()
    assert overlaid.shape == images.shape
    assert overlaid.dtype == np.float32
    assert overlaid.min() >= 0
    assert overlaid.max() <= 1
    assert len(np.unique(overlaid.reshape(400, -1), axis=0)) > 300
    np.testing.assert_array_equal(overlaid, overlay(images, SEED))
    assert not np.array_equal(overlaid, overlay(images, SEED + 1))


@pytest.mark.parametrize("overlay", [paint_rectangle, draw_strokes])
def test_no_images(overlay: Disturbance) -> None:
    assert overlay(tf.zeros([0, 28, 28, 1]), SEED).shape == (0, 28, 28, 1)


def test_rectangles_are_inverted_or_of_one_grey(images: tf.Tensor) -> None:
    inverted = 0
    for image in paint_rectangle(images, SEED).numpy()[..., 0]:
        rows, columns = np.nonzero(image != np.float32(0.1))
        if not len(rows):
            continue
        rectangle = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert len(np.unique(rectangle)) == 1
        inverted += bool(np.isclose(rectangle[0, 0], 0.9))
        assert np.isclose(rectangle[0, 0], 0.9) or rectangle.size <= image.size / 4
    assert 0.6 < inverted / 400 < 0.9


def test_rectangles_may_reach_from_edge_to_edge(images: tf.Tensor) -> None:
    painted = paint_rectangle(images, SEED).numpy()[..., 0] != np.float32(0.1)
    assert painted.all(axis=1).any(axis=1).mean() > 0.01
    assert painted.all(axis=2).any(axis=1).mean() > 0.01


def test_strokes_are_drawn_in_ink_or_erase() -> None:
    on_paper = draw_strokes(tf.zeros([400, 28, 28, 1]), SEED).numpy()
    on_ink = draw_strokes(tf.ones([400, 28, 28, 1]), SEED).numpy()
    drawn, erased = on_paper.max(axis=(1, 2, 3)) > 0, on_ink.min(axis=(1, 2, 3)) < 1
    assert not (drawn & erased).any()
    assert drawn.mean() == pytest.approx(0.8, abs=0.07)
    assert erased.mean() == pytest.approx(0.2, abs=0.07)
    assert on_paper[drawn].max(axis=(1, 2, 3)).min() > 0.3


def test_strokes_leave_most_of_an_image_and_are_of_many_lengths() -> None:
    ink = draw_strokes(tf.zeros([400, 28, 28, 1]), SEED).numpy()[..., 0] > 0
    assert ink.mean(axis=(1, 2)).max() < 0.5
    spans = ink.any(axis=1).sum(axis=1)
    assert np.percentile(spans, 90) > np.percentile(spans, 40) + 5
