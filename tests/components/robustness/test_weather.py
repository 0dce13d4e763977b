import numpy as np
import pytest

from components.robustness.pixels import Images
from components.robustness.plasma import plasma_fractals
from components.robustness.weather import fog, spatter


def test_fog_is_three_parts_of_plasma_to_one_of_image(digits: Images) -> None:
    digits = digits[digits.max(axis=(1, 2)) == 255]
    plasma = plasma_fractals(len(digits), 1.4, np.random.default_rng(7))
    foggy = fog(digits, np.random.default_rng(7))
    np.testing.assert_allclose(foggy, (digits + 3 * 255 * plasma) / 4, atol=0.51)


def test_fog_is_not_brighter_than_the_image(generator: np.random.Generator) -> None:
    images = np.full((50, 28, 28), 100, np.uint8)
    foggy = fog(images, generator)
    assert foggy.max() <= 100
    assert not fog(images * np.uint8(0), generator).any()


def test_spatter_covers_parts_with_mud(blank: Images, generator: np.random.Generator) -> None:
    covered = spatter(blank, generator)
    drops = covered[covered > 0]
    assert (drops.min(), drops.max()) == (50, 63)  # 0.8 x 63 and 63


def test_drops_are_as_many_and_as_large_as_the_published_ones(generator: np.random.Generator) -> None:
    drops = spatter(np.zeros((2000, 28, 28), np.uint8), generator) > 0
    # What `spatter` of google-research/mnist-c gave in 3,000 runs.
    assert drops.mean() == pytest.approx(0.137, abs=0.005)
    edges = np.count_nonzero(np.diff(drops, axis=2), axis=2)
    assert edges.mean() == pytest.approx(1.86, abs=0.05)


def test_what_is_under_mud_is_not_seen(blank: Images, generator: np.random.Generator) -> None:
    covered = spatter(blank + np.uint8(255), generator)
    assert (covered.min(), covered.max()) == (63, 255)
