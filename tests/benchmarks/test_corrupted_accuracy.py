import numpy as np
import pytest

from benchmarks.corrupted_accuracy import calibration_error, corrupted_copies
from components.robustness.corruptions import CORRUPTIONS


def test_every_corruption_is_tried_on_all_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    copies = dict(corrupted_copies(images, seed=1))
    assert list(copies) == list(CORRUPTIONS)
    assert all(copy.shape == images.shape and (copy != images).any() for copy in copies.values())


def test_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    # Two bins: of four answers with 0.8 three are right, and the two with 0.5 are both wrong.
    probabilities = np.array([[0.8, 0.1, 0.1]] * 4 + [[0.2, 0.5, 0.3]] * 2)
    labels = np.array([0, 0, 0, 1, 0, 2])
    assert calibration_error(probabilities, labels) == pytest.approx((4 * 0.05 + 2 * 0.5) / 6)
