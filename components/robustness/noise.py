"""Corruptions of single pixels by noise: shot and impulse noise."""

import numpy as np

from components.features import MAX_PIXEL
from components.robustness.pixels import Images, to_pixels, to_unit

PHOTONS = 3
"""Photons that a pixel of full ink gets on average (mnist-c, `shot_noise`, severity 5)."""

IMPULSE_SHARE = 0.17
"""Share of the pixels that are replaced (mnist-c, `impulse_noise`, severity 4)."""


def shot_noise(images: Images, generator: np.random.Generator) -> Images:
    """Counts photons, few of them: the noise of too little light.

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    photons = generator.poisson(to_unit(images) * PHOTONS)
    return to_pixels(photons / PHOTONS)


def impulse_noise(images: Images, generator: np.random.Generator) -> Images:
    """Replaces pixels by black or white, each with the same chance (scikit-image's `random_noise`, mode `s&p`).

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    chance = generator.random(images.shape, dtype=np.float32)
    salted = np.where(chance < IMPULSE_SHARE / 2, np.uint8(MAX_PIXEL), np.uint8(0))
    return np.where(chance < IMPULSE_SHARE, salted, images)
