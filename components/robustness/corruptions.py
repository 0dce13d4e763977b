"""The 15 corruptions of MNIST-C at the severities of the published set, by name."""

from collections.abc import Callable, Mapping

import numpy as np

from components.robustness.blur import glass_blur, motion_blur
from components.robustness.edges import canny_edges
from components.robustness.geometry import rotate, scale, shear, translate
from components.robustness.noise import impulse_noise, shot_noise
from components.robustness.pixels import Images
from components.robustness.strokes import dotted_line, zigzag
from components.robustness.tone import brightness, stripe
from components.robustness.weather import fog, spatter

CORRUPTION_KEY = "corruption"
"""Feature that says how an image was corrupted."""

Corruption = Callable[[Images, np.random.Generator], Images]
"""From uint8[n,28,28] to uint8[n,28,28]; the same generator state gives the same result."""

CORRUPTIONS: Mapping[str, Corruption] = {
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "shear": shear,
    "scale": scale,
    "rotate": rotate,
    "brightness": brightness,
    "translate": translate,
    "stripe": stripe,
    "fog": fog,
    "spatter": spatter,
    "dotted_line": dotted_line,
    "zigzag": zigzag,
    "canny_edges": canny_edges,
}
"""In the order of the paper."""


def corrupt(name: str, images: Images, generator: np.random.Generator) -> Images:
    """Corrupts a batch of images.

    Args:
        name: One of `CORRUPTIONS`.
        images: uint8[n,28,28], 0 background to 255 ink; n may be 0.
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28], a new array.

    Raises:
        ValueError: There is no corruption of that name.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"Corruption {name!r} is not known; expected one of {', '.join(CORRUPTIONS)}.")
    return CORRUPTIONS[name](images, generator)
