import numpy as np
import pytest
import tensorflow as tf

from components.trainer.paper import paper_luminance


def page(height: int, width: int, *surface: float) -> np.ndarray:
    """A page whose luminance is a polynomial of the place, -1 to 1: level, by y, by x, by y², by x², by y·x."""
    y, x = ((np.arange(side) + 0.5) / side * 2 - 1 for side in (height, width))
    y, x = np.meshgrid(y, x, indexing="ij")
    terms = (np.ones_like(x), y, x, y * y, x * x, y * x)
    return np.sum([factor * term for factor, term in zip(surface, terms, strict=False)], axis=0).astype(np.float32)


def estimate(luminance: np.ndarray) -> np.ndarray:
    return paper_luminance(tf.constant(luminance)).numpy()


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (60, 250), (256, 31)])
def test_even_paper(shape: tuple[int, int]) -> None:
    paper = np.full(shape, 231, np.float32)
    np.testing.assert_allclose(estimate(paper), paper, atol=0.01)


def test_light_that_falls_off_smoothly() -> None:
    paper = page(200, 120, 190, 20, -30, -15, -20, 8)
    np.testing.assert_allclose(estimate(paper), paper, atol=1)


def test_ink_in_the_middle_does_not_count() -> None:
    paper = page(200, 120, 190, 20, -30, -15, -20, 8)
    drawn = paper.copy()
    drawn[20:180, 20:100] = 10
    np.testing.assert_array_equal(estimate(drawn), estimate(paper))


@pytest.mark.parametrize("side", [np.s_[:12, 20:90], np.s_[30:170, :10], np.s_[:25, :25], np.s_[-9:, :]])
def test_ink_on_the_border_is_left_out(side: tuple[slice, slice]) -> None:
    paper = page(200, 120, 180, 12, -25)
    drawn = paper.copy()
    drawn[side] = 20
    np.testing.assert_allclose(estimate(drawn), paper, atol=8)
