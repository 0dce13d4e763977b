"""Builds the requests that test an export; runs in the fresh process too, so it imports only TensorFlow."""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import tensorflow as tf

from components.features import IMAGE_HEIGHT, IMAGE_KEY, IMAGE_WIDTH, NUM_CLASSES
from registry.signatures import EXAMPLES, MAX_BATCH, PIXELS, required_signatures

SIGNATURES = required_signatures(IMAGE_HEIGHT, IMAGE_WIDTH, NUM_CLASSES)


class Kind(StrEnum):
    """The purpose of a request, which is also the metric of its finding."""

    GOOD = "good request"
    ALONE = "one image alone"
    EMPTY = "empty batch"
    HUGE = "huge batch"
    MALFORMED = "malformed request"
    AFTERWARDS = "good request after a malformed one"
    LATENCY = "latency"
    PYTHON = "same as in Python"


@dataclass(frozen=True)
class Request:
    """One request to a signature.

    Attributes:
        signature: Name of the signature.
        kind: What the request tests.
        values: The input of the signature; bytes as an array of objects.
        name: Distinguishes malformed requests.
    """

    signature: str
    kind: Kind
    values: np.ndarray
    name: str = ""


def encode_images(signature: str, images: np.ndarray) -> np.ndarray:
    """Converts images to the input of a signature.

    Args:
        signature: Name of the signature.
        images: uint8[n,28,28], 0 background to 255 ink.

    Returns:
        PNG bytes object[n], pixels float32[n,28,28] or serialized raw tf.Examples object[n].
    """
    if signature == PIXELS:
        return images.astype(np.float32)
    if signature == EXAMPLES:
        return _strings([_example({IMAGE_KEY: image}) for image in images])
    return _strings([tf.io.encode_png(image[..., np.newaxis]).numpy() for image in images])


def build_requests(signature: str, images: np.ndarray, huge_batch: int) -> Iterator[Request]:
    """Builds the requests to a signature, the good one first: if it fails, the others show nothing.

    Args:
        signature: Name of the signature.
        images: uint8[n,28,28], at least one.
        huge_batch: Number of images in the huge request; the limit of the signature if that is lower.
    """
    good = encode_images(signature, images)
    alone = good[:1]
    yield Request(signature, Kind.GOOD, good)
    yield Request(signature, Kind.ALONE, alone)
    yield Request(signature, Kind.EMPTY, good[:0])
    most = MAX_BATCH[signature]
    yield Request(signature, Kind.HUGE, np.resize(good, (min(huge_batch, most), *good.shape[1:])))
    too_many = {f"{most + 1} images": np.resize(good, (most + 1, *good.shape[1:]))}
    for name, values in {**_malformed(signature, images[:1]), **too_many}.items():
        yield Request(signature, Kind.MALFORMED, values, name)
        yield Request(signature, Kind.AFTERWARDS, alone, name)
    yield Request(signature, Kind.LATENCY, alone)


def _malformed(signature: str, image: np.ndarray) -> dict[str, np.ndarray]:
    good = encode_images(signature, image)
    extra_dimension = {"an extra dimension": good[np.newaxis]}
    if signature == PIXELS:
        not_a_number = good.copy()
        not_a_number[:, 14, 14] = np.nan
        return {"27 rows": good[:, :-1], "27 columns": good[:, :, :-1], "a NaN pixel": not_a_number, **extra_dimension}
    if signature == EXAMPLES:
        # TensorFlow's message quotes what it cannot parse. Python cannot decode the quotation of a whole image.
        short_example = _example({IMAGE_KEY: np.zeros(3, np.uint8)})
        return {
            "a truncated tf.Example": _strings([short_example[:-1]]),
            "a tf.Example without image": _strings([_example({})]),
            "a tf.Example of 27 rows": _strings([_example({IMAGE_KEY: image[0, :-1]})]),
            **extra_dimension,
        }
    return {
        "a text file": _strings([b"three, or maybe a seven\n"]),
        "a truncated PNG": _strings([good[0][: len(good[0]) // 2]]),
        "a PNG of 30000 x 30000 pixels": _strings([_with_size_in_header(good[0], 30_000)]),
        **extra_dimension,
    }


def _with_size_in_header(png: bytes, side: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">2I", side, side) + png[24:29]
    return png[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


def _example(features: Mapping[str, np.ndarray]) -> bytes:
    lists = {
        key: tf.train.Feature(int64_list=tf.train.Int64List(value=values.ravel())) for key, values in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString(deterministic=True)


def _strings(values: Sequence[bytes]) -> np.ndarray:
    # NumPy's own bytes type drops trailing zeros.
    return np.array(values, dtype=object)
