"""Digits to corrupt."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from components.robustness.corruptions import Images

MNIST = Path(__file__).resolve().parents[3] / "data" / "mnist.npz"


@pytest.fixture(scope="session")
def digits() -> Images:
    """Twenty of MNIST's test images, uint8[20,28,28]."""
    with np.load(MNIST) as arrays:
        return arrays["x_test"][:20]


@pytest.fixture(scope="session")
def photos() -> Images:
    """Blurred color noise that is not square, uint8[20,40,60,3]."""
    noise = np.random.default_rng(0).random((20, 40, 60, 3))
    smooth = gaussian_filter(noise, 3, axes=(1, 2))
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)
