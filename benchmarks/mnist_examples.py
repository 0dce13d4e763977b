"""MNIST as serialized tf.Examples in the layouts of both pipelines, so that both get the same 70,000 images."""

from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.features import IMAGE_KEY

Split = Literal["train", "test"]

_MNIST_FILE = Path(__file__).parent.parent / "data" / "mnist.npz"


def load_mnist(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns MNIST's own 60,000 train or 10,000 test images uint8[n,28,28], 0 to 255, and labels uint8[n], 0 to 9."""
    with np.load(_MNIST_FILE) as arrays:
        return arrays[f"x_{split}"], arrays[f"y_{split}"]


def our_example(image: NDArray[np.uint8]) -> bytes:
    """Serializes an image uint8[28,28] as our pipeline's ExampleGen does, without its label."""
    return _serialize({IMAGE_KEY: tf.train.Feature(int64_list=tf.train.Int64List(value=image.ravel().tolist()))})


def tfx_example(image: NDArray[np.uint8], label: int) -> bytes:
    """Serializes an image uint8[28,28] and its label as TFX's example expects them, pixels scaled to -0.5 to 0.5."""
    floats = image.ravel() / 255 - 0.5
    return _serialize(
        {
            "image_floats": tf.train.Feature(float_list=tf.train.FloatList(value=floats.tolist())),
            "image_class": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        }
    )


def _serialize(features: dict[str, tf.train.Feature]) -> bytes:
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return serialized
