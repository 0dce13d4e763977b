"""Corruptions that move ink: shear, scale, rotate and translate."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from components.features import IMAGE_HEIGHT, IMAGE_WIDTH
from components.robustness.pixels import Images, to_pixels, to_unit

SHEAR = 0.4
"""Angle of the shear in radians, to one side or the other (mnist-c, `shear`, severity 2)."""

SCALE = 0.7
"""Size of the digit, of what it was (mnist-c, `scale`, severity 3)."""

ROTATION = 0.4
"""Angle of the rotation in radians, clockwise or counter-clockwise (mnist-c, `rotate`, severity 2)."""

TRANSLATION = 3
"""Pixels moved along each axis, forth or back (mnist-c, `translate`, severity 3)."""

CENTRE = np.array([(IMAGE_HEIGHT - 1) / 2, (IMAGE_WIDTH - 1) / 2])
"""The point that stays where it is: row and column 13.5 (mnist-c)."""


def shear(images: Images, generator: np.random.Generator) -> Images:
    """Slants each image to the left or to the right.

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    return _one_way_or_the_other(images, _shear_matrix(SHEAR), _shear_matrix(-SHEAR), generator)


def rotate(images: Images, generator: np.random.Generator) -> Images:
    """Turns each image to the left or to the right.

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    return _one_way_or_the_other(images, _rotation_matrix(ROTATION), _rotation_matrix(-ROTATION), generator)


def scale(images: Images, _: np.random.Generator) -> Images:
    """Makes digits smaller.

    Args:
        images: uint8[n,28,28].

    Returns:
        uint8[n,28,28].
    """
    return _transform(images, np.eye(2) / SCALE)


def translate(images: Images, generator: np.random.Generator) -> Images:
    """Moves each image towards one of its corners.

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    directions = generator.integers(0, 2, (len(images), 2)) * 2 - 1
    padded = np.pad(images, ((0, 0), (TRANSLATION, TRANSLATION), (TRANSLATION, TRANSLATION)))
    moved = np.empty_like(images)
    for down, right in itertools.product((-1, 1), repeat=2):
        chosen = (directions == (down, right)).all(axis=1)
        top, left = TRANSLATION * (1 - down), TRANSLATION * (1 - right)
        moved[chosen] = padded[chosen, top : top + IMAGE_HEIGHT, left : left + IMAGE_WIDTH]
    return moved


def _shear_matrix(angle: float) -> NDArray[np.float64]:
    # What scikit-image of the time of the published set (0.15) makes of an angle: it also stretches the rows.
    return np.array([[math.cos(angle), 0], [-math.sin(angle), 1]])


def _rotation_matrix(angle: float) -> NDArray[np.float64]:
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def _one_way_or_the_other(
    images: Images, one: NDArray[np.float64], other: NDArray[np.float64], generator: np.random.Generator
) -> Images:
    chosen = generator.integers(0, 2, len(images)) == 1
    transformed = np.empty_like(images)
    transformed[chosen] = _transform(images[chosen], one)
    transformed[~chosen] = _transform(images[~chosen], other)
    return transformed


def _transform(images: Images, matrix: NDArray[np.float64]) -> Images:
    # `matrix` leads from a row and column of the result to those of the source, both seen from the centre.
    if not len(images):
        return images
    whole = np.eye(3)
    whole[1:, 1:] = matrix
    offset = np.array([0, *(CENTRE - matrix @ CENTRE)])
    return to_pixels(affine_transform(to_unit(images), whole, offset, order=1, mode="grid-constant"))
