import numpy as np
import pytest

from benchmarks.pushed_model import calibration_error


def test_calibration_error_is_the_difference_of_confidence_and_accuracy() -> None:
    # Two bins: three of four answers with 0.8 are right, and the two with 0.5 are both wrong.
    probabilities = np.array([[0.8, 0.1, 0.1]] * 4 + [[0.2, 0.5, 0.3]] * 2)
    labels = np.array([0, 0, 0, 1, 0, 2])
    assert calibration_error(probabilities, labels) == pytest.approx((4 * 0.05 + 2 * 0.5) / 6)
