import numpy as np
import pytest

from components.example_gen.sources import DataError
from components.example_gen.sources.records import (
    check_counts,
    check_image_size,
    check_labels,
    numbered_records,
    ranges,
)


@pytest.mark.parametrize(
    ("num_records", "expected"), [(0, []), (4, [(0, 4)]), (5, [(0, 5)]), (6, [(0, 5), (5, 6)]), (10, [(0, 5), (5, 10)])]
)
def test_ranges_have_every_record_once(num_records: int, expected: list[tuple[int, int]]) -> None:
    assert ranges(num_records, 5) == expected


def test_records_are_numbered_from_the_start_of_their_share() -> None:
    images = bytes([1] * 784 + [2] * 784)
    records = list(numbered_records("test", 41, images, np.array([3, 4])))
    assert [(record.key, record.image[0], len(record.image), record.label) for record in records] == [
        ("test/000041", 1, 784, 3),
        ("test/000042", 2, 784, 4),
    ]


def test_good_data_pass() -> None:
    check_counts("images", 1, "labels", 1)
    check_image_size("images", 28, 28)
    check_labels(np.arange(10), str)


@pytest.mark.parametrize("label", [-1, 10])
def test_the_first_wrong_label_is_named(label: int) -> None:
    with pytest.raises(DataError, match=f"^place 2: found label {label}, expected a class from 0 to 9; correct"):
        check_labels(np.array([0, 9, label, 99]), lambda index: f"place {index}")


@pytest.mark.parametrize(("height", "width"), [(27, 28), (28, 29)])
def test_other_sizes_are_named(height: int, width: int) -> None:
    with pytest.raises(
        DataError, match=rf"^images: found {height} x {width} pixels \(height x width\), expected 28 x 28;"
    ):
        check_image_size("images", height, width)


def test_unequal_counts_are_named() -> None:
    with pytest.raises(
        DataError, match="^labels: found 2 labels for the 3 images of images, expected one label per image"
    ):
        check_counts("images", 3, "labels", 2)
