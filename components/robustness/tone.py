"""Corruptions that change the values of pixels and nothing else: brightness and stripe."""

import numpy as np

from components.features import IMAGE_WIDTH, MAX_PIXEL
from components.robustness.pixels import Images, to_pixels, to_unit

BRIGHTNESS = 0.5
"""What is added to each pixel, of 1 (mnist-c, `brightness`, severity 5)."""

STRIPE_WIDTH = 7
"""Columns of each of the two stripes (mnist-c, `stripe`)."""


def brightness(images: Images, _: np.random.Generator) -> Images:
    """Adds light to all pixels.

    Args:
        images: uint8[n,28,28].

    Returns:
        uint8[n,28,28].
    """
    return to_pixels(to_unit(images) + np.float32(BRIGHTNESS))


def stripe(images: Images, _: np.random.Generator) -> Images:
    """Inverts a stripe at the left edge and one at the right.

    Args:
        images: uint8[n,28,28].

    Returns:
        uint8[n,28,28].
    """
    columns = np.arange(IMAGE_WIDTH)
    inverted = (columns < STRIPE_WIDTH) | (columns >= IMAGE_WIDTH - STRIPE_WIDTH)
    return np.where(inverted, MAX_PIXEL - images, images)
