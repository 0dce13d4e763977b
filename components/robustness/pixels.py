"""The two forms of pixels that corruptions work in, and the ways between them."""

import numpy as np
from numpy.typing import NDArray

from components.features import MAX_PIXEL

Images = NDArray[np.uint8]
"""A batch, uint8[n,28,28], 0 background to 255 ink."""

UnitImages = NDArray[np.float32]
"""The same as float32[n,28,28], 0 background to 1 ink."""


def to_unit(images: Images) -> UnitImages:
    """Returns pixels 0 to 255 as 0 to 1."""
    return images.astype(np.float32) / np.float32(MAX_PIXEL)


def to_pixels(images: NDArray[np.floating]) -> Images:
    """Returns values as pixels 0 to 255, rounded; what is outside 0 to 1 is clipped, as in MNIST-C."""
    return np.rint(np.clip(images, 0, 1) * MAX_PIXEL).astype(np.uint8)
