"""Corruptions that draw over the digit: a dotted line and a zigzag."""

import numpy as np
from numpy.typing import NDArray

from components.features import IMAGE_HEIGHT, IMAGE_WIDTH
from components.robustness.pixels import Images, to_pixels, to_unit

STROKE_RADIUS = 2.3
"""Distance in pixels at which a stroke ends; up to there ink fades as log(1 - distance / radius) + 1 (mnist-c)."""

DOT_LENGTH = 2
"""Columns of a dot and of a gap, a gap first (mnist-c, `dotted_line`)."""

ZIGZAG_COLUMNS = (2, 25)
"""Where a zigzag begins and ends (mnist-c, `zigzag`)."""

ZIGZAG_RISE = 5
"""A zigzag ends up to so many rows above where it begins, or less than so many below (the same)."""

TOOTH = 2.0
"""Half the length and the height of a tooth of the zigzag, in pixels (the same)."""

NUM_ROWS = 27
"""Lines begin, and the dotted ones end, in one of the first so many rows (mnist-c)."""

Numbers = NDArray[np.float64]


def dotted_line(images: Images, generator: np.random.Generator) -> Images:
    """Draws a dotted line from the left edge to the right one.

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    from_rows, to_rows = generator.integers(0, NUM_ROWS, (2, len(images)))
    ends = np.zeros(len(images)), np.full(len(images), float(IMAGE_WIDTH - 1))
    line = _lines(ends[0], from_rows, ends[1], to_rows)
    dots = np.arange(IMAGE_WIDTH) // DOT_LENGTH % 2 == 1
    return to_pixels(to_unit(images) + line * dots)


def zigzag(images: Images, generator: np.random.Generator) -> Images:
    """Draws a zigzag along a line from left to right.

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    first_rows = generator.integers(0, NUM_ROWS, len(images))
    rises = generator.integers(-ZIGZAG_RISE, ZIGZAG_RISE, len(images))
    columns, rows = _zigzag_corners(first_rows, rises)
    drawn = to_unit(images)
    for corner in range(len(columns) - 1):
        drawn += _lines(columns[corner], rows[corner], columns[corner + 1], rows[corner + 1])
    return to_pixels(drawn)


def _zigzag_corners(first_rows: NDArray[np.int64], rises: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    # Columns and rows of the corners, float64[8,n].
    first, last = ZIGZAG_COLUMNS
    angles = np.arctan(rises / (last - first))
    along, across = _teeth((last - first) / np.cos(angles))
    columns = first + along * np.cos(angles) - across * np.sin(angles)
    rows = first_rows + along * np.sin(angles) + across * np.cos(angles)
    return columns, rows


def _teeth(lengths: Numbers) -> tuple[Numbers, Numbers]:
    # Corners of a zigzag along and across a line, float64[8,n]. The longest line, 23.6 pixels, has as many whole teeth
    # as the shortest; where a tooth is cut off, the published code ends it at this height.
    first, last = ZIGZAG_COLUMNS
    number = np.arange((last - first - TOOTH) // (2 * TOOTH) + 1)
    along = np.concatenate([[0], (2 * number + 1) * TOOTH])
    across = np.concatenate([[0], TOOTH * (-1) ** number])
    shape = (len(along), len(lengths))
    cut_off = across[-1] / (2 * (lengths % (2 * TOOTH)))
    return (
        np.vstack([np.broadcast_to(along[:, np.newaxis], shape), lengths]),
        np.vstack([np.broadcast_to(across[:, np.newaxis], shape), cut_off]),
    )


def _lines(
    from_columns: Numbers, from_rows: NDArray[np.number], to_columns: Numbers, to_rows: NDArray[np.number]
) -> NDArray[np.float32]:
    # One line per image, float32[n,28,28]; distances are measured along the column, as in mnist-c's `line_from_points`.
    columns = np.arange(IMAGE_WIDTH)
    slopes = (to_rows - from_rows) / (to_columns - from_columns)
    middles = slopes[:, np.newaxis] * (columns - from_columns[:, np.newaxis]) + from_rows[:, np.newaxis]
    begins, ends = np.floor(from_columns)[:, np.newaxis], np.ceil(to_columns)[:, np.newaxis]
    middles[(columns < begins) | (columns >= ends)] = np.inf
    distances = np.abs(np.arange(IMAGE_HEIGHT, dtype=np.float32)[:, np.newaxis] - middles[:, np.newaxis])
    near = np.clip(1 - distances.astype(np.float32) / STROKE_RADIUS, np.exp(np.float32(-1)), 1)
    return np.log(near) + 1
