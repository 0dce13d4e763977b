"""Corruptions by what is between the camera and the digit: fog and spatter."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from components.robustness.pixels import Images, to_pixels, to_unit
from components.robustness.plasma import plasma_fractals

FOG_STRENGTH = 3.0
"""How much fog there is for one of image (mnist-c, `fog`, severity 5)."""

FOG_DECAY = 1.4
"""How fast the fog gets smoother from level to level (the same)."""

DROP_MEAN, DROP_DEVIATION = 0.65, 0.3
"""Mean and standard deviation of the noise that drops are made of (mnist-c, `spatter`, severity 4)."""

DROP_SIGMA = 1.0
"""Standard deviation of the blur of that noise, in pixels (the same)."""

DROP_THRESHOLD = 0.65
"""Where the blurred noise is above it, there is a drop (the same)."""

RIM_SIGMA = 1.5
"""Standard deviation of the blur of the drops, in pixels (the same)."""

OPAQUE = 0.8
"""Less of a drop than this is not seen (the same)."""

MUD = 63 / 255
"""Tone of the drops (the same)."""


def fog(images: Images, generator: np.random.Generator) -> Images:
    """Adds a plasma fractal, and dims all to the brightest pixel that there was.

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    clear = to_unit(images)
    brightest = clear.max(axis=(1, 2), keepdims=True)
    foggy = clear + FOG_STRENGTH * plasma_fractals(len(images), FOG_DECAY, generator)
    return to_pixels(foggy * brightest / (brightest + FOG_STRENGTH))


def spatter(images: Images, generator: np.random.Generator) -> Images:
    """Covers parts of the image with drops of mud.

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    noise = generator.standard_normal(images.shape, dtype=np.float32) * DROP_DEVIATION + DROP_MEAN
    drops = (_blur(noise, DROP_SIGMA) > DROP_THRESHOLD).astype(np.float32)
    cover = _blur(drops, RIM_SIGMA)
    cover[cover < OPAQUE] = 0
    return to_pixels(to_unit(images) * (1 - cover) + np.float32(MUD) * cover)


def _blur(images: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return gaussian_filter(images, sigma, axes=(1, 2), mode="nearest")
