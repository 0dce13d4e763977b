import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from components.robustness import blur
from components.robustness.blur import glass_blur, motion_blur
from components.robustness.pixels import Images


def test_glass_blur_blurs_twice_from_row_to_row_only(blank: Images, generator: np.random.Generator) -> None:
    # No pixel of the first column is exchanged.
    blank[:, 14, 0] = 255
    blurred = glass_blur(blank, generator)
    assert not blurred[:, :, 1:].any()
    once = np.floor(gaussian_filter1d(blank[0, :, 0].astype(float), 0.7))
    np.testing.assert_allclose(blurred[:, :, 0], np.tile(gaussian_filter1d(once, 0.7), (200, 1)), atol=0.51)


def test_glass_blur_moves_ink_and_keeps_it(digits: Images, generator: np.random.Generator) -> None:
    blurred = glass_blur(digits, generator)
    assert blurred.sum() == pytest.approx(digits.sum(), rel=0.01)
    rows_only = gaussian_filter1d(gaussian_filter1d(digits.astype(float), 0.7, axis=1), 0.7, axis=1)
    assert np.abs(blurred - rows_only).mean() > 5


@pytest.mark.parametrize("axis", [1, 2])
def test_glass_blur_exchanges_as_many_pixels_as_the_published_code(
    axis: int, blank: Images, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blur, "GLASS_SIGMA", 1e-6)  # The exchange alone.
    places = np.moveaxis(blank + np.arange(28, dtype=np.uint8) * np.uint8(9), 2, axis)
    moved = np.rint((glass_blur(places, generator).astype(float) - places) / 9)[:, 4:24, 4:24]
    found = [(moved == distance).mean() for distance in range(-3, 3)]
    # What the loop of google-research/mnist-c gave in 150 runs, rows and columns.
    assert found == pytest.approx([0, 0.055, 0.273, 0.411, 0.173, 0.060], abs=0.005)


def test_motion_blur_is_half_a_gaussian_in_a_direction_up_to_45_degrees(
    blank: Images, generator: np.random.Generator
) -> None:
    blank[:, 14, 20] = 255
    blurred = motion_blur(blank, generator)
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


def test_motion_blur_repeats_the_edge(blank: Images, generator: np.random.Generator) -> None:
    full = motion_blur(blank + np.uint8(200), generator)
    assert (full == 200).all()
