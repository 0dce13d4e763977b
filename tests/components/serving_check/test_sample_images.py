from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tfx.types.standard_artifacts import Examples

from components.serving_check.sample_images import read_images


def test_the_first_images_of_a_split_are_read(
    make_examples: Callable[[Path, np.ndarray], Examples], tmp_path: Path, images: np.ndarray
) -> None:
    examples = make_examples(tmp_path, images)
    np.testing.assert_array_equal(read_images(examples, "test", 5), images[:5])
    assert read_images(examples, "test", 5).dtype == np.uint8
    np.testing.assert_array_equal(read_images(examples, "test", 500), images)


def test_a_split_without_examples(
    make_examples: Callable[[Path, np.ndarray], Examples], tmp_path: Path, images: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"Split-test: no example in the split 'test', expected at least one"):
        read_images(make_examples(tmp_path, images[:0]), "test", 5)
