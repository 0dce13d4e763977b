import numpy as np

from components.robustness.pixels import to_pixels, to_unit


def test_all_pixels_come_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    unit = to_unit(pixels)
    assert (unit.dtype, unit.min(), unit.max()) == (np.float32, 0, 1)
    np.testing.assert_array_equal(to_pixels(unit), pixels)


def test_values_are_rounded_and_clipped() -> None:
    values = np.array([-1, 0.4 / 255, 0.6 / 255, 2], np.float32)
    assert to_pixels(values).tolist() == [0, 0, 1, 255]
