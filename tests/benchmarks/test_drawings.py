import numpy as np
import pytest

from benchmarks.drawings import KINDS, draw_kind, missed_targets


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_are_drawn_again(kind: str) -> None:
    files, labels = draw_kind(kind, 1)
    again, labels_again = draw_kind(kind, 1)
    assert files == again
    np.testing.assert_array_equal(labels, labels_again)


def test_missed_targets() -> None:
    assert list(missed_targets({"a": 0.99, "b": 0.96})) == []
    assert list(missed_targets({"a": 0.99, "b": 0.84})) == [
        "the mean is 91.5%, expected at least 97%.",
        "b: 84.0%, expected at least 85%.",
    ]
