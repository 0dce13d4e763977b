"""Digits to corrupt."""

from pathlib import Path

import numpy as np
import pytest

from components.robustness.corruptions import Images

MNIST = Path(__file__).resolve().parents[3] / "data" / "mnist.npz"


@pytest.fixture(scope="session")
def digits() -> Images:
    """Twenty of MNIST's test images, uint8[20,28,28]."""
    with np.load(MNIST) as arrays:
        return arrays["x_test"][:20]


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)
