import numpy as np
import pytest

from components.robustness.image_processing import find_edges, plasma_fractals

# A step of 13/255 has a gradient of about 0.15: an edge only where it continues one of 0.2 or more.
WEAK, STRONG = 13, 255


def step(top: int, bottom: int) -> np.ndarray:
    """A vertical edge between columns 13 and 14, whose height changes from `top` to `bottom`."""
    image = np.zeros((28, 28), np.uint8)
    image[:, 14:] = np.linspace(top, bottom, 28)[:, np.newaxis]
    return image


def edges(*images: np.ndarray) -> np.ndarray:
    return find_edges(np.stack(images).astype(np.float32) / np.float32(255))


def test_an_edge_is_beside_the_step_and_not_on_the_border() -> None:
    rows, columns = np.nonzero(edges(step(STRONG, STRONG))[0])
    assert set(columns) <= {13, 14}
    assert set(rows) == set(range(1, 27))
    assert not edges(np.full((28, 28), 255, np.uint8)).any()


def test_the_inside_of_strokes_has_no_edges() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 6:22] = 255
    drawn = edges(image)[0]
    assert not drawn[9:19, 9:19].any()
    assert drawn[9:19, 4:9].any(axis=1).all()


def test_weak_edges_count_only_where_they_continue_strong_ones() -> None:
    assert not edges(step(WEAK, WEAK)).any()
    assert edges(step(2 * WEAK, WEAK))[0, 1:27, 13:15].any(axis=1).all()
    # The low threshold is reached at a step of about 9.
    fading = edges(step(2 * WEAK, 0))[0]
    assert fading[1:15, 13:15].any(axis=1).all()
    assert not fading[20:].any()


def test_an_edge_does_not_continue_in_another_image() -> None:
    drawn = edges(step(STRONG, STRONG), step(WEAK, WEAK), step(STRONG, STRONG))
    assert not drawn[1].any()
    assert drawn[0].any()


def test_fractals_match_the_statistics_of_the_published_code(generator: np.random.Generator) -> None:
    fractals = plasma_fractals(500, 28, 28, 1.4, generator)
    assert (fractals.shape, fractals.dtype) == ((500, 28, 28), np.float32)
    assert fractals.min() >= 0
    assert fractals.max() <= 1
    # Results of `plasma_fractal` of google-research/mnist-c in 1,500 runs with decay 1.4.
    assert fractals.mean() == pytest.approx(0.497, abs=0.03)
    assert fractals.mean(axis=(1, 2)).std() == pytest.approx(0.194, abs=0.02)
    assert fractals.std(axis=(1, 2)).mean() == pytest.approx(0.0579, abs=0.004)
    assert np.abs(np.diff(fractals, axis=1)).mean() == pytest.approx(0.0081, abs=0.0004)
    assert np.abs(np.diff(fractals, axis=2)).mean() == pytest.approx(0.0081, abs=0.0004)


def test_the_margin_does_not_reach_into_the_image(generator: np.random.Generator) -> None:
    fractals = plasma_fractals(2000, 28, 28, 1.4, generator)
    for axis in (1, 2):
        steps = np.abs(np.diff(fractals, axis=axis)).mean(axis=(0, 3 - axis))
        np.testing.assert_allclose(steps, steps.mean(), rtol=0.2)


def test_a_higher_decay_is_smoother(generator: np.random.Generator) -> None:
    rough, smooth = (np.diff(plasma_fractals(50, 28, 28, decay, generator), axis=1).std() for decay in (1.4, 2.0))
    assert smooth < rough / 2
