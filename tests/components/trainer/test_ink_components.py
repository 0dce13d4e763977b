"""Draws cells, of which each is a pixel, and finds the drawing among them."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from components.trainer.ink_components import find_drawing

Ink = np.ndarray


@pytest.fixture
def page() -> Ink:
    """A drawing of 30x20 pixels in the middle."""
    page = np.zeros((90, 80), np.float32)
    page[30:60, 30:34] = page[56:60, 30:50] = 200
    return page


def found(ink: Ink) -> Ink:
    is_drawing, _ = find_drawing(tf.constant(ink), tf.constant(ink > 0))
    return np.where(is_drawing, ink, 0)


def speck(ink: Ink) -> None:
    ink[5:7, 50] = 200


def bar_at_the_edge(ink: Ink) -> None:
    ink[:8] = 255


def line_across(ink: Ink) -> None:
    ink[:, 70:73] = 255


def shadow_in_a_corner(ink: Ink) -> None:
    ink[70:, :25] = 100


def icons(ink: Ink) -> None:
    ink[0:7, 4:9] = ink[0:7, 60:70] = 255


def frame(ink: Ink) -> None:
    ink[10:80, 10] = ink[10:80, 70] = ink[10, 10:71] = ink[79, 10:71] = 255


def circle(ink: Ink) -> None:
    y, x = np.mgrid[:90, :80]
    ink[abs(np.hypot(y - 45, x - 40) - 35) < 1.5] = 255


def line_of_text(ink: Ink) -> None:
    ink[12:16, 15:65:3] = ink[14, 15:65] = 255


def underlines(ink: Ink) -> None:
    ink[64:66, 20:60] = ink[69:71, 20:60] = 255


def note(ink: Ink) -> None:
    ink[15:22, 65:68] = 255


@pytest.mark.parametrize(
    "draw",
    [speck, bar_at_the_edge, line_across, shadow_in_a_corner, icons, frame, circle, line_of_text, underlines, note],
    ids=lambda draw: draw.__name__,
)
def test_what_is_around_a_drawing_is_not_part_of_it(page: Ink, draw: Callable[[Ink], None]) -> None:
    ink = page.copy()
    draw(ink)
    np.testing.assert_array_equal(found(ink), page)
    # Without the drawing, it is all there is.
    alone = np.where(page > 0, 0, ink)
    np.testing.assert_array_equal(found(alone), alone)


def second_digit(ink: Ink) -> None:
    ink[32:60, 60:64] = 200


def separate_stroke(ink: Ink) -> None:
    ink[26:28, 30:48] = 200


def flag_below_the_top(ink: Ink) -> None:
    ink[34:54, 38:41] = 200


@pytest.mark.parametrize("draw", [second_digit, separate_stroke, flag_below_the_top], ids=lambda draw: draw.__name__)
def test_what_may_be_part_of_a_drawing_is_kept(page: Ink, draw: Callable[[Ink], None]) -> None:
    ink = page.copy()
    draw(ink)
    ink[2, 2] = 200
    without_speck = ink.copy()
    without_speck[2, 2] = 0
    np.testing.assert_array_equal(found(ink), without_speck)
    _, are_several = find_drawing(tf.constant(ink), tf.constant(ink > 0))
    assert are_several == (draw is second_digit)


@pytest.mark.parametrize(("num_strokes", "expected"), [(2, False), (3, True)])
def test_many_other_strokes_are_several_drawings(page: Ink, num_strokes: int, expected: bool) -> None:
    ink = page.copy()
    for number in range(num_strokes):
        ink[0:14, 5 + 20 * number : 8 + 20 * number] = 200
    is_drawing, are_several = find_drawing(tf.constant(ink), tf.constant(ink > 0))
    np.testing.assert_array_equal(np.where(is_drawing, ink, 0), page)
    assert are_several == expected


def test_a_digit_that_fills_the_image_is_kept() -> None:
    seven = np.zeros((60, 40), np.float32)
    seven[:9] = seven[:, 30:] = 255
    np.testing.assert_array_equal(found(seven), seven)


def test_a_long_line_is_one_component() -> None:
    ink = np.zeros((90, 90), np.float32)
    for row in range(8, 80, 4):
        ink[row, 8:82] = 255
        ink[row : row + 4, 81 if row % 8 else 8] = 255
    assert ndimage.label(ink)[1] == 1
    expected = ink.copy()
    ink[88, 0] = 255
    np.testing.assert_array_equal(found(ink), expected)


def test_cells_of_a_large_image_hold_several_pixels(page: Ink) -> None:
    large = np.kron(page, np.ones((3, 3), np.float32))[:-1, :-2]
    ink = large.copy()
    ink[10:12, 200:204] = 255
    np.testing.assert_array_equal(found(ink), large)


@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (256, 256)])
def test_no_ink(shape: tuple[int, int]) -> None:
    is_drawing, are_several = find_drawing(tf.zeros(shape), tf.zeros(shape, tf.bool))
    assert is_drawing.numpy().all()
    assert not are_several
