"""The images that are sent: the same to the server and to the loop that it is compared with."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.mnist_examples import load_mnist
from registry.signatures import IMAGE_BYTES_INPUT, IMAGE_INPUT, PIXELS, SERVING_DEFAULT

SIGNATURES = (PIXELS, SERVING_DEFAULT)
INPUTS = {PIXELS: IMAGE_INPUT, SERVING_DEFAULT: IMAGE_BYTES_INPUT}

NUM_IMAGES = 128
CANVAS_SIZE = 280

_DIGIT_SIZE = 160
_SEED = 20
_WHITE = 255


@dataclass(frozen=True)
class Case:
    """A kind of request.

    Attributes:
        signature: Which signature is asked.
        batch_size: Images per request.
    """

    signature: str
    batch_size: int


def make_images(signature: str) -> NDArray[np.generic]:
    """Makes the inputs of a signature from the first of MNIST's test images.

    Args:
        signature: One of `SIGNATURES`.

    Returns:
        For `pixels` float32[NUM_IMAGES,28,28], 0 background to 255 ink. For `serving_default` object[NUM_IMAGES], PNGs
        of canvases of 280x280 pixels, as the web page sends them: dark ink on white, anywhere on the canvas.
    """
    digits, _ = load_mnist("test")
    digits = digits[:NUM_IMAGES]
    if signature == PIXELS:
        return digits.astype(np.float32)
    corners = np.random.default_rng(_SEED).integers(0, CANVAS_SIZE - _DIGIT_SIZE, (NUM_IMAGES, 2))
    canvases = np.empty(NUM_IMAGES, object)
    canvases[:] = [_canvas_png(digit, int(x), int(y)) for digit, (x, y) in zip(digits, corners, strict=True)]
    return canvases


def batch_positions(batch_size: int, positions: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Says which images go into each request.

    Args:
        batch_size: Images per request.
        positions: Of the images that may be sent, int[m].

    Returns:
        Arrays int[batch_size]. All images are sent; the last request is filled up with the first.
    """
    num_batches = -(-len(positions) // batch_size)
    return np.split(np.resize(positions, num_batches * batch_size), num_batches)


def _canvas_png(digit: NDArray[np.uint8], x: int, y: int) -> bytes:
    canvas = Image.new("L", (CANVAS_SIZE, CANVAS_SIZE), _WHITE)
    size = (_DIGIT_SIZE, _DIGIT_SIZE)
    canvas.paste(Image.fromarray(_WHITE - digit).resize(size, Image.Resampling.BICUBIC), (x, y))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()
