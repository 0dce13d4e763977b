"""Reads a data set to its end before a pipeline does, so that damage shows in a minute and not after an hour."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from components.example_gen.sources.source import Record, Source, fingerprint
from components.features import MAX_PIXEL, NUM_CLASSES


@dataclass(frozen=True)
class Summary:
    """What is in a source.

    Attributes:
        format: Name of the format.
        files: Full URIs of all files.
        fingerprint: SHA-256 of names, sizes and contents.
        counts: For each origin the number of records of each of the ten classes.
        min_pixel: Smallest value of a pixel, 0 to 255.
        max_pixel: Largest value of a pixel, 0 to 255.
    """

    format: str
    files: tuple[str, ...]
    fingerprint: str
    counts: dict[str, list[int]]
    min_pixel: int
    max_pixel: int


def verify(source: Source) -> Summary:
    """Reads and checks every record of a source.

    Args:
        source: The source.

    Returns:
        What is in it.

    Raises:
        DataError: The first record, or file, that cannot be used.
    """
    counts: dict[str, list[int]] = {}
    min_pixel, max_pixel = MAX_PIXEL, 0
    for share in source.shares():
        records = list(share.read())
        _count(records, counts)
        pixels = np.frombuffer(b"".join(record.image for record in records), np.uint8)
        min_pixel, max_pixel = min(min_pixel, int(pixels.min())), max(max_pixel, int(pixels.max()))
    return Summary(source.format, source.files, fingerprint(source), counts, min_pixel, max_pixel)


def _count(records: Iterable[Record], counts: dict[str, list[int]]) -> None:
    for record in records:
        counts.setdefault(record.origin, [0] * NUM_CLASSES)[record.label] += 1
