"""MNIST's images as people send digits: dark on light, large, anywhere on the page, noisy, encoded in many ways."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SMALLEST_SIDE, LARGEST_SIDE = 60, 400

_LARGEST_NOISE = 10.0
_WHITE = 255


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Returns an image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def re_render(digit: NDArray[np.uint8], random: np.random.Generator) -> bytes:
    """Draws a digit on a page of random size and lightness, off centre, with noise.

    Args:
        digit: uint8[28,28], 0 background to 255 ink.
        random: Decides on the page (60 to 400 pixels a side), how much of it the image takes (45 to 95 % of the
            shorter side) and where, on the greys of paper (190 to 255) and ink (0 to 90), and on the noise (standard
            deviation 0 to 10).

    Returns:
        A PNG.
    """
    height, width = (int(side) for side in random.integers(SMALLEST_SIDE, LARGEST_SIDE + 1, 2))
    side = int(min(height, width) * random.uniform(0.45, 0.95))
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    ink = np.zeros((height, width))
    ink[top : top + side, left : left + side] = np.asarray(_enlarge(digit, side)) / _WHITE
    paper, pen = random.uniform(190, 255), random.uniform(0, 90)
    noise = random.normal(0, random.uniform(0, _LARGEST_NOISE), ink.shape)
    page = paper + (pen - paper) * ink + noise
    return encode(Image.fromarray(np.clip(np.round(page), 0, _WHITE).astype(np.uint8)))


def _enlarge(digit: NDArray[np.uint8], side: int) -> Image.Image:
    return Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)


def _page(digit: NDArray[np.uint8], side: int) -> Image.Image:
    return Image.fromarray(_WHITE - np.asarray(_enlarge(digit, side)))


def _transparent(digit: NDArray[np.uint8], side: int) -> Image.Image:
    page = Image.new("RGBA", (side, side))
    page.putalpha(_enlarge(digit, side))
    return page


ENCODINGS: Mapping[str, Callable[[NDArray[np.uint8]], bytes]] = {
    "28x28, grey PNG": lambda digit: encode(Image.fromarray(digit)),
    "280x280, grey PNG": lambda digit: encode(_page(digit, 280)),
    "280x280, transparent PNG": lambda digit: encode(_transparent(digit, 280)),
    "400x400, grey PNG": lambda digit: encode(_page(digit, 400)),
    "400x400, JPEG": lambda digit: encode(_page(digit, 400).convert("RGB"), "JPEG"),
}
"""What the normalization is timed on, each from an image uint8[28,28]."""
