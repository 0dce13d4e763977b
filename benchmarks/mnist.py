"""MNIST's images in every form in which the benchmarks send them."""

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.features import IMAGE_KEY

if TYPE_CHECKING:
    import tensorflow as tf

Split = Literal["train", "test"]
Digit = NDArray[np.uint8]
"""uint8[28,28], 0 background to 255 ink."""

NUM_DIGITS = 10
NUM_MNIST = 70_000
SMALLEST_SIDE, LARGEST_SIDE = 60, 400

_MNIST_FILE = Path(__file__).parent.parent / "data" / "mnist.npz"
_WHITE = 255


def load_mnist(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns MNIST's own 60,000 train or 10,000 test images uint8[n,28,28], 0 to 255, and labels uint8[n], 0 to 9."""
    with np.load(_MNIST_FILE) as arrays:
        return arrays[f"x_{split}"], arrays[f"y_{split}"]


def to_digits(labels: Iterable[str | bytes]) -> NDArray[np.int64]:
    """Returns the digits int64[n] that labels name; -1 for the empty label of a blank image."""
    return np.array([int(label or -1) for label in labels], np.int64)


def our_example(digit: Digit) -> bytes:
    """Serializes a digit as our ExampleGen does, without its label."""
    import tensorflow as tf

    image = encode(Image.fromarray(digit))
    return _serialize({IMAGE_KEY: tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))})


def tfx_example(digit: Digit, label: int) -> bytes:
    """Serializes a digit and its label as TFX's example expects them, pixels scaled to -0.5 to 0.5."""
    import tensorflow as tf

    floats = digit.ravel() / _WHITE - 0.5
    return _serialize(
        {
            "image_floats": tf.train.Feature(float_list=tf.train.FloatList(value=floats.tolist())),
            "image_class": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        }
    )


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    """Returns an image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def dark_on_light(digit: Digit, side: int) -> Image.Image:
    """Returns a digit enlarged to `side` pixels, black on white."""
    return Image.fromarray(_WHITE - np.asarray(_enlarge(digit, side)))


def re_render(digit: Digit, random: np.random.Generator) -> bytes:
    """Draws a digit on a page of random size and brightness, off center, with noise.

    Args:
        digit: The digit.
        random: Chooses the page (60 to 400 pixels a side), the size of the digit (45 to 95 % of the shorter side), its
            place, the gray levels of paper (190 to 255) and ink (0 to 90), and the noise (standard deviation 0 to 10).

    Returns:
        A PNG.
    """
    height, width = (int(side) for side in random.integers(SMALLEST_SIDE, LARGEST_SIDE + 1, 2))
    side = int(min(height, width) * random.uniform(0.45, 0.95))
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    ink = np.zeros((height, width))
    ink[top : top + side, left : left + side] = np.asarray(_enlarge(digit, side)) / _WHITE
    paper, pen = random.uniform(190, 255), random.uniform(0, 90)
    noise = random.normal(0, random.uniform(0, 10), ink.shape)
    page = paper + (pen - paper) * ink + noise
    return encode(Image.fromarray(np.clip(np.round(page), 0, _WHITE).astype(np.uint8)))


def _enlarge(digit: Digit, side: int) -> Image.Image:
    return Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)


def _transparent(digit: Digit, side: int) -> Image.Image:
    page = Image.new("RGBA", (side, side))
    page.putalpha(_enlarge(digit, side))
    return page


def _serialize(features: "Mapping[str, tf.train.Feature]") -> bytes:
    import tensorflow as tf

    example: Any = tf.train.Example(features=tf.train.Features(feature=features))
    serialized: bytes = example.SerializeToString()
    return serialized


ENCODINGS: Mapping[str, Callable[[Digit], bytes]] = {
    "28x28, gray PNG": lambda digit: encode(Image.fromarray(digit)),
    "280x280, gray PNG": lambda digit: encode(dark_on_light(digit, 280)),
    "280x280, transparent PNG": lambda digit: encode(_transparent(digit, 280)),
    "400x400, gray PNG": lambda digit: encode(dark_on_light(digit, 400)),
    "400x400, JPEG": lambda digit: encode(dark_on_light(digit, 400).convert("RGB"), "JPEG"),
}
"""The files with which the normalization is timed."""
