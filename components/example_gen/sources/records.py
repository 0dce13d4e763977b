"""Checks and steps that formats of numbered records share, so that each is written once."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from components.example_gen.sources.errors import DataError, numbered_record, place
from components.example_gen.sources.source import Record
from components.features import IMAGE_HEIGHT, IMAGE_SIZE, IMAGE_WIDTH, NUM_CLASSES


def ranges(num_records: int, records_per_share: int) -> list[tuple[int, int]]:
    """Divides records into consecutive ranges.

    Args:
        num_records: Number of records.
        records_per_share: Largest size of a range.

    Returns:
        First index and end of each range.

    Raises:
        ValueError: `records_per_share` is not positive.
    """
    if records_per_share < 1:
        raise ValueError(f"records_per_share must be at least 1, not {records_per_share}.")
    starts = range(0, num_records, records_per_share)
    return [(start, min(start + records_per_share, num_records)) for start in starts]


def check_counts(images: str, num_images: int, labels: str, num_labels: int) -> None:
    """Checks that there are records, and one label for each image.

    Args:
        images: Place of the images, for the message.
        num_images: Their number.
        labels: Place of the labels.
        num_labels: Their number.

    Raises:
        DataError: There are no images, or the numbers differ.
    """
    if num_images < 1:
        raise DataError(images, "no images", "at least one", "provide data")
    if num_images != num_labels:
        found = f"{num_labels} labels for the {num_images} images of {images}"
        raise DataError(labels, found, "one label per image", "use images and labels of the same data set")


def check_image_size(where: str, height: int, width: int) -> None:
    """Checks the size of images.

    Args:
        where: Place of the image or images, for the message.
        height: Number of pixels in a column.
        width: Number of pixels in a row.

    Raises:
        DataError: They are not 28 x 28.
    """
    if (height, width) != (IMAGE_HEIGHT, IMAGE_WIDTH):
        expected = f"{IMAGE_HEIGHT} x {IMAGE_WIDTH}"
        raise DataError(where, f"{height} x {width} pixels (height x width)", expected, f"resize to {expected}")


def check_labels(labels: NDArray[np.integer], where: Callable[[int], str]) -> None:
    """Checks that labels are classes.

    Args:
        labels: Integers [n].
        where: Gives the place of the label at an index, for the message.

    Raises:
        DataError: The first label that is not in 0 to 9.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= NUM_CLASSES))
    if wrong.size:
        first = int(wrong[0])
        expected = f"a class from 0 to {NUM_CLASSES - 1}"
        raise DataError(where(first), f"label {labels[first]}", expected, "correct or leave out the record")


def check_numbered_labels(labels: NDArray[np.integer], file: str, start: int, *field: str) -> None:
    """Checks labels of numbered records; see `check_labels`.

    Args:
        labels: Integers [n].
        file: The file they are in.
        start: Index of the first of them in the file.
        *field: Name of the field they are in, if it has one.
    """
    check_labels(labels, lambda index: place(file, numbered_record(start + index), *field))


def numbered_records(origin: str, start: int, images: bytes, labels: NDArray[np.integer]) -> Iterator[Record]:
    """Makes records whose key is their index.

    Args:
        origin: Origin of all of them.
        start: Index of the first of them within the origin.
        images: uint8[n,28,28] as n * 784 bytes.
        labels: Integers [n].

    Yields:
        The n records.
    """
    for index, label in enumerate(labels.tolist()):
        image = images[index * IMAGE_SIZE : (index + 1) * IMAGE_SIZE]
        yield Record(origin, f"{origin}/{start + index:06d}", image, label)
