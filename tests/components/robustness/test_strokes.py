import numpy as np

from components.robustness.pixels import Images
from components.robustness.strokes import dotted_line, zigzag


def test_a_dotted_line_has_dots_of_two_columns(blank: Images, generator: np.random.Generator) -> None:
    drawn = dotted_line(blank, generator).max(axis=1)
    dots = [column for column in range(27) if column // 2 % 2]
    gaps = [column for column in range(28) if column not in dots]
    assert not drawn[:, gaps].any()
    # A line passes some pixel at half a pixel or less: log(1 - 0.5 / 2.3) + 1 = 0.755.
    assert (drawn[:, dots] >= 192).all()


def test_a_dotted_line_is_straight_and_ends_anywhere(blank: Images, generator: np.random.Generator) -> None:
    drawn = dotted_line(blank, generator).argmax(axis=1)[:, [2, 14, 26]]
    assert np.abs(drawn[:, 0] + drawn[:, 2] - 2 * drawn[:, 1]).max() <= 2
    assert set(drawn[:, 0]) >= set(range(3, 24))


def test_ink_fades_with_the_distance(blank: Images, generator: np.random.Generator) -> None:
    drawn = dotted_line(blank, generator)
    # Less than 0.6321 x 2.3 = 1.454 pixels away to either side.
    assert set(np.count_nonzero(drawn[:, :, 14], axis=1)) <= {1, 2, 3}
    assert (np.count_nonzero(drawn[:, :, 14], axis=1) == 3).mean() > 0.5


def test_a_zigzag_goes_from_column_2_to_25(blank: Images, generator: np.random.Generator) -> None:
    drawn = zigzag(blank, generator)
    inked = drawn.any(axis=(0, 1))
    assert np.flatnonzero(inked).tolist() == list(range(2, 26))


def test_a_zigzag_has_six_teeth_two_pixels_high(blank: Images, generator: np.random.Generator) -> None:
    drawn = zigzag(blank, generator)
    complete = drawn[(drawn[:, 0] == 0).all(axis=1) & (drawn[:, -1] == 0).all(axis=1)]
    rows = complete.argmax(axis=1)[:, 2:25]
    slopes, starts = np.polyfit(np.arange(23), rows.T, 1)
    heights = rows - (starts[:, np.newaxis] + slopes[:, np.newaxis] * np.arange(23))
    turns = [np.count_nonzero(np.diff(np.sign(height[np.abs(height) > 0.7])) != 0) for height in heights]
    assert len(complete) > 50
    assert np.median(turns) == 5
    assert 1 < np.median(np.abs(heights).max(axis=1)) <= 3


def test_strokes_only_add_ink(digits: Images, generator: np.random.Generator) -> None:
    for corruption in (dotted_line, zigzag):
        assert (corruption(digits, generator) >= digits).all()
