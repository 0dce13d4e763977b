import numpy as np
import pytest
import tensorflow as tf

from components.trainer.augmentation import (
    STAGES,
    Disturbance,
    affine_transforms,
    augment,
    blur,
    disturb,
    draw_strokes,
    light_unevenly,
    move,
    paint_rectangle,
    redraw,
    roughen,
)
from components.trainer.hyperparameters import NO_AUGMENTATION, Hyperparameters

STILL = Hyperparameters(**NO_AUGMENTATION)
SEED = tf.constant([1, 2], tf.int64)


@pytest.fixture
def standardized() -> tf.Tensor:
    """Bars of 8 rows and 4 columns, from -0.4 to 2.8."""
    images = np.full((200, 28, 28, 1), -0.4, np.float32)
    images[:, 10:18, 12:16] = 2.8
    return tf.constant(images)


@pytest.fixture
def bars() -> tf.Tensor:
    """Bars of 8 rows and 4 columns, from 0 to 1."""
    images = np.zeros((300, 28, 28, 1), np.float32)
    images[:, 10:18, 12:16] = 1
    return tf.constant(images)


def transforms(num_images: int, **limits: float) -> np.ndarray:
    return affine_transforms(num_images, (28, 28), STILL.model_copy(update=limits), SEED).numpy()


def test_limits_of_zero_are_the_identity() -> None:
    np.testing.assert_array_equal(transforms(20), np.tile([1, 0, 0, 0, 1, 0, 0, 0], (20, 1)))


def test_every_image_gets_its_own_transform_within_the_limits() -> None:
    drawn = transforms(50, shift=3.0)
    shifts = drawn[:, [2, 5]]
    assert len(np.unique(shifts)) == 100
    assert 2 < np.abs(shifts).max() <= 3
    np.testing.assert_array_equal(drawn[:, [0, 1, 3, 4, 6, 7]], np.tile([1, 0, 0, 1, 0, 0], (50, 1)))


def test_rotation_keeps_the_center() -> None:
    for a, b, x, c, d, y, *_ in transforms(20, rotation=90.0):
        np.testing.assert_allclose(np.array([[a, b], [c, d]]) @ [13.5, 13.5] + [x, y], [13.5, 13.5], atol=1e-4)
        np.testing.assert_allclose(np.linalg.det([[a, b], [c, d]]), 1, atol=1e-5)


def test_zoom_shrinks_as_much_as_it_grows() -> None:
    widths = transforms(2000, zoom=0.25)[:, 0]
    np.testing.assert_allclose([widths.min(), widths.max()], [1 / 1.25, 1.25], rtol=0.01)


def test_images_move_by_their_transforms_onto_background() -> None:
    image = np.full((1, 28, 28, 1), -0.4, np.float32)
    image[0, 10, 20] = 1
    # Each point of the output comes from the point of the input two columns and one row further.
    moved = move(tf.constant(image), tf.constant([[1, 0, 2, 0, 1, 1, 0, 0]], tf.float32), repeat_edge=False).numpy()
    assert np.argwhere(moved[0, ..., 0] == 1).tolist() == [[9, 18]]
    np.testing.assert_allclose(np.delete(moved.ravel(), 9 * 28 + 18), -0.4, atol=1e-5)


def test_photos_repeat_their_edge() -> None:
    image = np.arange(2 * 5 * 4 * 3, dtype=np.float32).reshape(2, 5, 4, 3)
    moved = move(tf.constant(image), tf.constant([[1, 0, -2, 0, 1, 1, 0, 0]] * 2, tf.float32), repeat_edge=True).numpy()
    expected = np.pad(image[:, 1:], [(0, 0), (0, 1), (2, 0), (0, 0)], mode="edge")[:, :, :4]
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_shifts_grow_with_the_image() -> None:
    settings = STILL.model_copy(update={"shift": 1.0})
    small, large = (affine_transforms(50, size, settings, SEED).numpy() for size in ((28, 28), (56, 112)))
    np.testing.assert_allclose(large[:, [2, 5]], small[:, [2, 5]] * [4, 2], rtol=1e-5)


def test_strengths_of_zero_change_nothing(standardized: tf.Tensor) -> None:
    np.testing.assert_array_equal(augment(standardized, STILL, SEED), standardized)


def test_the_share_of_disturbed_images_is_kept(standardized: tf.Tensor) -> None:
    augmented = augment(standardized, STILL.model_copy(update={"disturbed_share": 0.4}), SEED)
    changed = np.abs(augmented - standardized).max(axis=(1, 2, 3)) > 1e-4
    # Each of the three stages leaves half of the chosen images unchanged.
    assert changed.mean() == pytest.approx(0.4 * (1 - 0.5**3), abs=0.08)


def test_the_share_of_disturbed_images_falls_to_zero(standardized: tf.Tensor) -> None:
    settings = STILL.model_copy(update={"disturbed_share": 0.8})
    half_way = augment(standardized, settings, SEED, progress=0.5)
    changed = np.abs(half_way - standardized).max(axis=(1, 2, 3)) > 1e-4
    assert changed.mean() == pytest.approx(0.4 * (1 - 0.5**3), abs=0.08)
    np.testing.assert_allclose(augment(standardized, settings, SEED, progress=1.0), standardized, atol=1e-5)


def test_standardized_images_stay_between_background_and_ink(standardized: tf.Tensor) -> None:
    augmented = augment(standardized, Hyperparameters(disturbed_share=1), SEED).numpy()
    assert augmented.shape == standardized.shape
    assert augmented.min() >= -0.4 - 1e-5
    assert augmented.max() <= 2.8 + 1e-5


@pytest.mark.parametrize("num_images", [0, 1, 3])
def test_blank_batches_of_any_size_stay_finite(num_images: int) -> None:
    augmented = augment(tf.fill([num_images, 28, 28, 1], -0.4), Hyperparameters(disturbed_share=1), SEED)
    assert augmented.shape == (num_images, 28, 28, 1)
    assert np.isfinite(augmented).all()


def test_the_seed_determines_the_result_in_a_graph_and_eagerly(standardized: tf.Tensor) -> None:
    hyperparameters = Hyperparameters()
    first = augment(standardized, hyperparameters, SEED)
    np.testing.assert_array_equal(first, augment(standardized, hyperparameters, SEED))
    in_graph = tf.function(lambda batch: augment(batch, hyperparameters, SEED))(standardized)
    np.testing.assert_allclose(first, in_graph, atol=1e-3)
    assert not np.array_equal(first, augment(standardized, hyperparameters, SEED + 1))


def test_each_stage_changes_half_of_the_images_with_one_disturbance_each(standardized: tf.Tensor) -> None:
    stages = ((lambda part, _: part + 1, lambda part, _: part + 2), (lambda part, _: part + 10,))
    # Numbers in steps of 100 show that images keep their places.
    numbered = standardized + tf.reshape(tf.range(200.0) * 100, [200, 1, 1, 1])
    changed = disturb(numbered, tf.range(200) < 160, stages, SEED)
    added = (changed - numbered).numpy().max(axis=(1, 2, 3)).round().astype(int)
    assert (added[160:] == 0).all()
    assert {int(number): int((added[:160] == number).sum()) for number in np.unique(added[:160])} == pytest.approx(
        {0: 40, 1: 20, 2: 20, 10: 40, 11: 20, 12: 20}, abs=12
    )


@pytest.mark.parametrize(("preparation", "num_disturbances"), [("ink", 6), ("resize", 4)])
def test_every_disturbance_is_used_once(preparation: str, num_disturbances: int) -> None:
    used = [disturbance for stage in STAGES[preparation] for disturbance in stage]
    assert len(used) == len(set(used)) == num_disturbances
    assert (redraw in used, draw_strokes in used) == (preparation == "ink", preparation == "ink")


def test_photos_of_any_size_are_augmented_in_all_channels() -> None:
    photos = tf.constant(np.random.default_rng(0).normal(size=(60, 20, 32, 3)).astype(np.float32))
    augmented = augment(photos, Hyperparameters(disturbed_share=1, preparation="resize"), SEED).numpy()
    assert augmented.shape == photos.shape
    assert np.isfinite(augmented).all()
    assert (np.abs(augmented - photos).max(axis=(1, 2)) > 0.1).all()
    assert augmented.min() >= tf.reduce_min(photos) - 1e-4
    assert augmented.max() <= tf.reduce_max(photos) + 1e-4


@pytest.mark.parametrize("disturbance", [redraw, blur, light_unevenly, roughen, paint_rectangle, draw_strokes])
def test_disturbances_grow_with_the_image(bars: tf.Tensor, disturbance: Disturbance) -> None:
    large = tf.repeat(tf.repeat(bars, 3, axis=1), 3, axis=2)
    expected, found = (
        np.abs(disturbance(images, SEED) - images).mean(axis=(1, 2, 3)).mean() for images in (bars, large)
    )
    assert found == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("disturbance", "num_variants"),
    [
        (redraw, 5),
        (blur, 290),
        (light_unevenly, 290),
        (roughen, 290),
        (paint_rectangle, 225),
        (draw_strokes, 225),
    ],
)
def test_each_image_is_disturbed_in_its_own_way(bars: tf.Tensor, disturbance: Disturbance, num_variants: int) -> None:
    disturbed = disturbance(bars, SEED).numpy()
    assert (disturbed.shape, disturbed.dtype) == (bars.shape, np.float32)
    assert disturbed.min() >= 0
    assert disturbed.max() <= 1 + 1e-6
    assert len(np.unique(disturbed.reshape(300, -1), axis=0)) >= num_variants
    np.testing.assert_array_equal(disturbed, disturbance(bars, SEED))
    assert not np.array_equal(disturbed, disturbance(bars, SEED + 1))
    assert disturbance(bars[:0], SEED).shape == (0, 28, 28, 1)


def test_bars_become_thicker_thinner_or_hollow(bars: tf.Tensor) -> None:
    areas, counts = np.unique((redraw(bars, SEED).numpy() > 0).sum(axis=(1, 2, 3)), return_counts=True)
    thicker, thinner, outside, inside = 10 * 6, 7 * 3, 10 * 6 - 8 * 4, 8 * 4 - 6 * 2
    expected = {thicker: 60, thinner: 60, outside: 60, inside: 60, 10 * 6 - 6 * 2: 60}
    assert dict(zip(areas.tolist(), counts.tolist(), strict=True)) == pytest.approx(expected, abs=25)
    brightest = redraw(bars / 4, SEED).numpy().max(axis=(1, 2, 3))
    assert [brightest.min(), brightest.max()] == pytest.approx([0.25, 0.5], abs=0.01)


def test_blur_spreads_ink_and_loses_none(bars: tf.Tensor) -> None:
    blurred = blur(bars, SEED).numpy()
    np.testing.assert_allclose(blurred.sum(axis=(1, 2, 3)), 32, rtol=1e-4)
    assert (blurred[:, 9, 13] > 0).all()


def test_light_reduces_contrast_and_falls_from_the_corners(bars: tf.Tensor) -> None:
    grounds = light_unevenly(tf.zeros_like(bars), SEED).numpy()[..., 0]
    contrast = light_unevenly(tf.ones_like(bars), SEED).numpy()[..., 0] - grounds
    np.testing.assert_allclose(contrast.min(axis=(1, 2)), contrast.max(axis=(1, 2)), atol=1e-5)
    assert [contrast.min(), contrast.max()] == pytest.approx([0.2, 1], abs=0.02)
    ranges = np.ptp(grounds, axis=(1, 2))
    assert ranges.min() < 0.1
    assert ranges.max() > 0.5
    corners = grounds[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(grounds.min(axis=(1, 2)), corners.min(axis=1), atol=1e-6)
    np.testing.assert_allclose(grounds.max(axis=(1, 2)), corners.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(grounds[:, 13:15, 13:15].mean(axis=(1, 2)), corners.mean(axis=1), atol=1e-5)


def test_noise_ranges_from_faint_to_strong_and_replaces_some_pixels(bars: tf.Tensor) -> None:
    # The median ignores the few pixels that are replaced.
    strengths = np.median(np.abs(roughen(tf.ones_like(bars) / 2, SEED) - 0.5), axis=(1, 2, 3))
    assert strengths.min() < 0.01
    assert strengths.max() > 0.15
    white, black = roughen(tf.ones_like(bars), SEED).numpy(), roughen(tf.zeros_like(bars), SEED).numpy()
    replaced = (np.abs(white - black) < 1e-6).mean(axis=(1, 2, 3))
    assert replaced.min() < 0.01
    assert 0.15 < replaced.max() < 0.3


def test_rectangles_are_inverted_or_gray_and_may_reach_from_edge_to_edge() -> None:
    painted = paint_rectangle(tf.fill([400, 28, 28, 1], 0.1), SEED).numpy()[..., 0]
    inverted = 0
    for image in painted:
        rows, columns = np.nonzero(image != np.float32(0.1))
        if not len(rows):
            continue
        rectangle = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert len(np.unique(rectangle)) == 1
        inverted += bool(np.isclose(rectangle[0, 0], 0.9))
        assert np.isclose(rectangle[0, 0], 0.9) or rectangle.size <= image.size / 4
    assert 0.6 < inverted / 400 < 0.9
    for axis in (1, 2):
        assert (painted != np.float32(0.1)).all(axis=axis).any(axis=1).mean() > 0.01


def test_strokes_of_many_lengths_draw_or_erase() -> None:
    on_paper = draw_strokes(tf.zeros([400, 28, 28, 1]), SEED).numpy()
    on_ink = draw_strokes(tf.ones([400, 28, 28, 1]), SEED).numpy()
    drawn, erased = on_paper.max(axis=(1, 2, 3)) > 0, on_ink.min(axis=(1, 2, 3)) < 1
    assert not (drawn & erased).any()
    assert drawn.mean() == pytest.approx(0.8, abs=0.07)
    assert erased.mean() == pytest.approx(0.2, abs=0.07)
    assert on_paper[drawn].max(axis=(1, 2, 3)).min() > 0.3
    ink = on_paper[..., 0] > 0
    assert ink.mean(axis=(1, 2)).max() < 0.5
    spans = ink.any(axis=1).sum(axis=1)
    assert np.percentile(spans, 90) > np.percentile(spans, 40) + 5
