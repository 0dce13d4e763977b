import numpy as np
import pytest

from components.robustness.plasma import plasma_fractals


def test_fractals_look_like_the_published_ones(generator: np.random.Generator) -> None:
    fractals = plasma_fractals(500, 1.4, generator)
    assert fractals.shape == (500, 28, 28)
    assert fractals.dtype == np.float32
    assert fractals.min() >= 0
    assert fractals.max() <= 1
    # What `plasma_fractal` of google-research/mnist-c gave in 1,500 runs with decay 1.4.
    assert fractals.mean() == pytest.approx(0.497, abs=0.03)
    assert fractals.mean(axis=(1, 2)).std() == pytest.approx(0.194, abs=0.02)
    assert fractals.std(axis=(1, 2)).mean() == pytest.approx(0.0579, abs=0.004)
    assert np.abs(np.diff(fractals, axis=1)).mean() == pytest.approx(0.0081, abs=0.0004)
    assert np.abs(np.diff(fractals, axis=2)).mean() == pytest.approx(0.0081, abs=0.0004)


def test_no_row_or_column_is_rougher_than_others(generator: np.random.Generator) -> None:
    # What lies around the image must not reach into it.
    fractals = plasma_fractals(2000, 1.4, generator)
    for axis in (1, 2):
        steps = np.abs(np.diff(fractals, axis=axis)).mean(axis=(0, 3 - axis))
        np.testing.assert_allclose(steps, steps.mean(), rtol=0.2)


def test_a_higher_decay_is_smoother(generator: np.random.Generator) -> None:
    rough, smooth = (np.diff(plasma_fractals(50, decay, generator), axis=1).std() for decay in (1.4, 2.0))
    assert smooth < rough / 2
