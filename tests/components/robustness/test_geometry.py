import math

import numpy as np
import pytest
from numpy.typing import NDArray

from components.robustness.corruptions import Corruption
from components.robustness.geometry import rotate, scale, shear, translate
from components.robustness.pixels import Images


def slope(image: NDArray[np.uint8]) -> float:
    """Columns per row of the line that fits the ink best."""
    rows, columns = np.nonzero(image > 127)
    return float(np.polyfit(rows, columns, 1)[0])


def both_ways(values: list[float]) -> tuple[float, float]:
    """The mean of the negative values and that of the positive ones."""
    numbers = np.array(values)
    return float(numbers[numbers < 0].mean()), float(numbers[numbers > 0].mean())


@pytest.fixture
def bars(blank: Images) -> Images:
    """An upright bar in the middle, 20 rows by 2 columns."""
    blank[:, 4:24, 13:15] = 255
    return blank


def test_shear_moves_rows_by_the_sine_of_0_4_either_way(bars: Images, generator: np.random.Generator) -> None:
    sheared = shear(bars, generator)
    assert both_ways([slope(image) for image in sheared]) == pytest.approx((-math.sin(0.4), math.sin(0.4)), abs=0.02)


def test_shear_stretches_rows_as_the_published_set_does(bars: Images, generator: np.random.Generator) -> None:
    heights = (shear(bars, generator) > 0).any(axis=2).sum(axis=1)
    assert (heights == 22).all()  # 20 / cos 0.4 = 21.7


def test_rotate_turns_by_0_4_either_way(bars: Images, generator: np.random.Generator) -> None:
    rotated = rotate(bars, generator)
    assert both_ways([math.atan(slope(image)) for image in rotated]) == pytest.approx((-0.4, 0.4), abs=0.02)


@pytest.mark.parametrize("corruption", [shear, rotate])
def test_both_directions_have_the_same_chance(
    corruption: Corruption, bars: Images, generator: np.random.Generator
) -> None:
    to_the_right = np.mean([slope(image) > 0 for image in corruption(bars, generator)])
    assert 0.4 < to_the_right < 0.6


@pytest.mark.parametrize("corruption", [shear, rotate])
def test_pixels_are_interpolated(corruption: Corruption, bars: Images, generator: np.random.Generator) -> None:
    assert len(np.unique(corruption(bars, generator))) > 10


@pytest.mark.parametrize("corruption", [shear, rotate, scale])
def test_the_centre_stays(corruption: Corruption, bars: Images, generator: np.random.Generator) -> None:
    ink = corruption(bars, generator).astype(float).mean(axis=0)
    for axis in (0, 1):
        assert np.average(np.arange(28), weights=ink.sum(axis=1 - axis)) == pytest.approx(13.5, abs=0.3)


def test_scale_makes_20_pixels_14(blank: Images, generator: np.random.Generator) -> None:
    blank[:, 4:24, 4:24] = 255
    expected = np.zeros((28, 28), np.uint8)
    expected[7:21, 7:21] = 255
    np.testing.assert_array_equal(scale(blank, generator)[0], expected)


def test_translate_moves_by_three_pixels_towards_each_corner(digits: Images, generator: np.random.Generator) -> None:
    copies = np.repeat(digits[:1], 40, axis=0)
    padded = np.pad(digits[0], 3)
    corners = {padded[top : top + 28, left : left + 28].tobytes(): (top, left) for top in (0, 6) for left in (0, 6)}
    assert {corners[image.tobytes()] for image in translate(copies, generator)} == set(corners.values())
