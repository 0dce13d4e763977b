import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from components.robustness import corruptions
from components.robustness.corruptions import CORRUPTIONS, Images, corrupt
from components.robustness.image_processing import plasma_fractals

PUBLISHED = [
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "shear",
    "scale",
    "rotate",
    "brightness",
    "translate",
    "stripe",
    "fog",
    "spatter",
    "dotted_line",
    "zigzag",
    "canny_edges",
]
DETERMINISTIC = {"scale", "brightness", "stripe", "canny_edges"}


def corrupted(name: str, images: Images, seed: int = 7) -> Images:
    """Corrupts images uint8[n,h,w] or uint8[n,h,w,3]."""
    generator = np.random.default_rng(seed)
    return (
        corrupt(name, images[..., np.newaxis], generator)[..., 0]
        if images.ndim == 3
        else corrupt(name, images, generator)
    )


def gray(value: int, num_images: int = 200) -> Images:
    return np.full((num_images, 28, 28), value, np.uint8)


@pytest.fixture
def bars() -> Images:
    """A vertical bar in the middle, 20 rows by 2 columns."""
    images = gray(0)
    images[:, 4:24, 13:15] = 255
    return images


def slope(image: Images) -> float:
    """Columns per row of the line that fits the ink best."""
    rows, columns = np.nonzero(image > 127)
    return float(np.polyfit(rows, columns, 1)[0])


def both_ways(values: list[float]) -> list[float]:
    """The mean of the negative values, that of the positive ones, and the share of these."""
    numbers = np.array(values)
    return [numbers[numbers < 0].mean(), numbers[numbers > 0].mean(), (numbers > 0).mean()]


def test_all_corruptions_of_the_paper_are_in_its_order() -> None:
    assert list(CORRUPTIONS) == PUBLISHED


@pytest.mark.parametrize("kind", ["digits", "photos"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_image_changes_and_keeps_its_format(name: str, kind: str, request: pytest.FixtureRequest) -> None:
    images = request.getfixturevalue(kind)
    original = images.copy()
    result = corrupted(name, images)
    assert (result.shape, result.dtype) == (images.shape, np.uint8)
    assert (result != images).reshape(len(images), -1).any(axis=1).all()
    np.testing.assert_array_equal(images, original)


@pytest.mark.parametrize("kind", ["digits", "photos"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_seed_determines_the_result(name: str, kind: str, request: pytest.FixtureRequest) -> None:
    images = request.getfixturevalue(kind)
    np.testing.assert_array_equal(corrupted(name, images), corrupted(name, images))
    same = (corrupted(name, images, seed=1) == corrupted(name, images)).all()
    assert same == (name in DETERMINISTIC)
    copies = np.repeat(images[:1], 20, axis=0)
    assert (len(np.unique(corrupted(name, copies), axis=0)) == 1) == (name in DETERMINISTIC)


@pytest.mark.parametrize("name", PUBLISHED)
def test_noise_differs_by_channel_and_all_else_does_not(name: str, photos: Images) -> None:
    result = corrupted(name, np.repeat(photos[..., :1], 3, axis=-1))
    same = (result == result[..., :1]).all()
    assert same == (name not in {"shot_noise", "impulse_noise"})


@pytest.mark.parametrize("name", ["shear", "rotate", "scale", "translate", "stripe", "glass_blur", "motion_blur"])
def test_a_channel_is_corrupted_like_a_gray_image(name: str, photos: Images) -> None:
    result = corrupted(name, photos)
    for channel in range(3):
        np.testing.assert_array_equal(result[..., channel], corrupted(name, photos[..., channel]))


def test_lengths_scale_with_the_image(digits: Images) -> None:
    """A corruption of large copies, averaged over pixels, resembles the same corruption of the images."""
    # Noise becomes finer and edges stay one pixel wide.
    names = [name for name in PUBLISHED if name not in {"shot_noise", "impulse_noise", "canny_edges"}]
    large = digits.repeat(4, axis=1).repeat(4, axis=2)
    small = {name: corrupted(name, digits).mean(axis=0) for name in names}
    for name in names:
        reduced = corrupted(name, large).reshape(-1, 28, 4, 28, 4).mean(axis=(0, 2, 4))
        assert min(names, key=lambda other: np.abs(reduced - small[other]).mean()) == name


@pytest.mark.parametrize("name", PUBLISHED)
def test_tiny_images(name: str) -> None:
    assert corrupted(name, np.full((2, 1, 2, 3), 100, np.uint8)).shape == (2, 1, 2, 3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_images_of_a_batch_do_not_affect_each_other(name: str, digits: Images) -> None:
    expected = corrupted(name, digits)
    for replacement in (0, 255):
        changed = digits.copy()
        changed[9] = replacement
        result = corrupted(name, changed)
        np.testing.assert_array_equal(result[:9], expected[:9])
        # The number of random draws of a Poisson distribution depends on its mean: later images get others.
        if name != "shot_noise":
            np.testing.assert_array_equal(result[10:], expected[10:])


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("count", [0, 1])
def test_small_batches(name: str, count: int, digits: Images) -> None:
    result = corrupted(name, digits[:count])
    assert (result.shape, result.dtype) == ((count, 28, 28), np.uint8)


def test_an_unknown_name_is_an_error(digits: Images) -> None:
    with pytest.raises(ValueError, match=r"'snow'; expected one of shot_noise, .*, canny_edges\."):
        corrupted("snow", digits)


def test_shot_noise_counts_three_photons_on_full_ink() -> None:
    noisy = corrupted("shot_noise", gray(255))
    assert np.unique(noisy).tolist() == [0, 85, 170, 255]
    # The Poisson distribution of mean 3: e^-3 (1, 3, 9/2).
    shares = [(noisy == value).mean() for value in (0, 85, 170)]
    assert shares == pytest.approx([0.0498, 0.1494, 0.2240], abs=0.005)
    assert not corrupted("shot_noise", gray(0)).any()


def test_impulse_noise_replaces_17_percent_half_black_half_white() -> None:
    noisy = corrupted("impulse_noise", gray(100))
    assert np.unique(noisy).tolist() == [0, 100, 255]
    assert [(noisy == value).mean() for value in (0, 255)] == pytest.approx([0.085, 0.085], abs=0.003)


def test_glass_blur_blurs_twice_along_columns_only() -> None:
    images = gray(0)
    # No pixel of the first column is exchanged.
    images[:, 14, 0] = 255
    blurred = corrupted("glass_blur", images)
    assert not blurred[:, :, 1:].any()
    once = np.floor(gaussian_filter1d(images[0, :, 0].astype(float), 0.7))
    np.testing.assert_allclose(blurred[:, :, 0], np.tile(gaussian_filter1d(once, 0.7), (200, 1)), atol=0.51)


def test_glass_blur_moves_ink_and_keeps_it(digits: Images) -> None:
    blurred = corrupted("glass_blur", digits)
    assert blurred.sum() == pytest.approx(digits.sum(), rel=0.01)
    rows_only = gaussian_filter1d(gaussian_filter1d(digits.astype(float), 0.7, axis=1), 0.7, axis=1)
    assert np.abs(blurred - rows_only).mean() > 5


@pytest.mark.parametrize("axis", [1, 2])
def test_glass_blur_exchanges_as_many_pixels_as_the_published_code(axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corruptions, "GLASS_SIGMA", 1e-6)  # The exchange alone.
    places = np.moveaxis(gray(0) + np.arange(28, dtype=np.uint8) * np.uint8(9), 2, axis)
    moved = np.rint((corrupted("glass_blur", places).astype(float) - places) / 9)[:, 4:24, 4:24]
    found = [(moved == distance).mean() for distance in range(-3, 3)]
    # Results of the loop of google-research/mnist-c in 150 runs, rows and columns.
    assert found == pytest.approx([0, 0.055, 0.273, 0.411, 0.173, 0.060], abs=0.005)


def test_motion_blur_is_half_a_gaussian_at_up_to_45_degrees() -> None:
    images = gray(0)
    images[:, 14, 20] = 255
    blurred = corrupted("motion_blur", images)
    weights = np.exp(-(np.arange(21) ** 2) / 18)
    ink = np.rint(255 * weights / weights.sum())
    assert (blurred[:, 14, 20] >= ink[0]).all()
    assert not blurred[:, :, 21:].any()
    np.testing.assert_allclose(blurred.sum(axis=(1, 2)), 255, atol=6)
    level = blurred[(blurred[:, 14] == blurred.sum(axis=1)).all(axis=1)]
    assert len(level)
    assert (level[:, 14, 20::-1] == ink).all()
    _, rows, columns = np.nonzero(blurred)
    assert (np.abs(rows - 14) <= 20 - columns).all()
    slopes = np.array([np.nonzero(image[:, 16])[0][0] - 14 for image in blurred if image[:, 16].any()])
    assert set(slopes) == set(range(-4, 5))
    # Edges are repeated outside the image.
    assert (corrupted("motion_blur", gray(200)) == 200).all()


def test_shear_slants_by_the_sine_of_0_4_and_stretches_rows(bars: Images) -> None:
    sheared = corrupted("shear", bars)
    left, right, share = both_ways([slope(image) for image in sheared])
    assert (left, right) == pytest.approx((-math.sin(0.4), math.sin(0.4)), abs=0.02)
    assert 0.4 < share < 0.6
    assert ((sheared > 0).any(axis=2).sum(axis=1) == 22).all()  # 20 / cos 0.4 = 21.7


def test_rotate_turns_by_0_4_either_way(bars: Images) -> None:
    left, right, share = both_ways([math.atan(slope(image)) for image in corrupted("rotate", bars)])
    assert (left, right) == pytest.approx((-0.4, 0.4), abs=0.02)
    assert 0.4 < share < 0.6


@pytest.mark.parametrize("name", ["shear", "rotate", "scale"])
def test_the_center_stays_and_pixels_are_interpolated(name: str, bars: Images) -> None:
    moved = corrupted(name, bars)
    assert len(np.unique(moved)) > 10 or name == "scale"
    ink = moved.astype(float).mean(axis=0)
    for axis in (0, 1):
        assert np.average(np.arange(28), weights=ink.sum(axis=1 - axis)) == pytest.approx(13.5, abs=0.3)


def test_scale_reduces_20_pixels_to_14() -> None:
    images, expected = gray(0, 1), gray(0, 1)
    images[:, 4:24, 4:24] = 255
    expected[:, 7:21, 7:21] = 255
    np.testing.assert_array_equal(corrupted("scale", images), expected)


def test_translate_moves_by_three_pixels_toward_each_corner(digits: Images) -> None:
    padded = np.pad(digits[0], 3)
    corners = {padded[top : top + 28, left : left + 28].tobytes() for top in (0, 6) for left in (0, 6)}
    assert {image.tobytes() for image in corrupted("translate", np.repeat(digits[:1], 40, axis=0))} == corners


def test_brightness_adds_half_of_the_range() -> None:
    images = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)
    difference = corrupted("brightness", images) - np.minimum(images + 127.5, 255)
    assert np.abs(difference).max() <= 0.5


def test_stripe_inverts_seven_columns_at_each_edge(digits: Images) -> None:
    expected = digits.copy()
    expected[:, :, [*range(7), *range(21, 28)]] ^= 255
    np.testing.assert_array_equal(corrupted("stripe", digits), expected)


def test_fog_is_three_parts_of_plasma_to_one_of_image(digits: Images) -> None:
    digits = digits[digits.max(axis=(1, 2)) == 255]
    plasma = plasma_fractals(len(digits), 28, 28, 1.4, np.random.default_rng(7))
    np.testing.assert_allclose(corrupted("fog", digits), (digits + 3 * 255 * plasma) / 4, atol=0.51)


def test_fog_is_not_brighter_than_the_image() -> None:
    assert corrupted("fog", gray(100, 50)).max() <= 100
    assert not corrupted("fog", gray(0, 50)).any()


def test_spatter_covers_parts_with_opaque_mud() -> None:
    on_background, on_ink = corrupted("spatter", gray(0)), corrupted("spatter", gray(255))
    drops = on_background[on_background > 0]
    assert (drops.min(), drops.max()) == (50, 63)  # 0.8 x 63 and 63
    assert (on_ink.min(), on_ink.max()) == (63, 255)


def test_drops_match_the_published_ones_in_number_and_size() -> None:
    drops = corrupted("spatter", gray(0, 2000)) > 0
    # Results of `spatter` of google-research/mnist-c in 3,000 runs.
    assert drops.mean() == pytest.approx(0.137, abs=0.005)
    edges = np.count_nonzero(np.diff(drops, axis=2), axis=2)
    assert edges.mean() == pytest.approx(1.86, abs=0.05)


def test_a_dotted_line_is_straight_with_dots_of_two_columns() -> None:
    drawn = corrupted("dotted_line", gray(0))
    brightest = drawn.max(axis=1)
    dots = [column for column in range(27) if column // 2 % 2]
    gaps = [column for column in range(28) if column not in dots]
    assert not brightest[:, gaps].any()
    # A line passes some pixel at half a pixel or less: log(1 - 0.5 / 2.3) + 1 = 0.755.
    assert (brightest[:, dots] >= 192).all()
    rows = drawn.argmax(axis=1)[:, [2, 14, 26]]
    assert np.abs(rows[:, 0] + rows[:, 2] - 2 * rows[:, 1]).max() <= 2
    assert set(rows[:, 0]) >= set(range(3, 24))
    # Ink is visible less than 0.6321 x 2.3 = 1.454 pixels away to either side.
    widths = np.count_nonzero(drawn[:, :, 14], axis=1)
    assert set(widths) <= {1, 2, 3}
    assert (widths == 3).mean() > 0.5


def test_a_zigzag_has_six_teeth_two_pixels_high_from_column_2_to_25() -> None:
    drawn = corrupted("zigzag", gray(0))
    assert np.flatnonzero(drawn.any(axis=(0, 1))).tolist() == list(range(2, 26))
    complete = drawn[(drawn[:, 0] == 0).all(axis=1) & (drawn[:, -1] == 0).all(axis=1)]
    rows = complete.argmax(axis=1)[:, 2:25]
    slopes, starts = np.polyfit(np.arange(23), rows.T, 1)
    heights = rows - (starts[:, np.newaxis] + slopes[:, np.newaxis] * np.arange(23))
    turns = [np.count_nonzero(np.diff(np.sign(height[np.abs(height) > 0.7])) != 0) for height in heights]
    assert len(complete) > 50
    assert np.median(turns) == 5
    assert 1 < np.median(np.abs(heights).max(axis=1)) <= 3


@pytest.mark.parametrize("name", ["dotted_line", "zigzag"])
def test_strokes_only_add_ink(name: str, digits: Images) -> None:
    assert (corrupted(name, digits) >= digits).all()


def test_canny_edges_are_white_on_black(digits: Images) -> None:
    assert np.unique(corrupted("canny_edges", digits)).tolist() == [0, 255]
