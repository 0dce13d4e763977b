"""Builds the requests that test an export; runs in the fresh process too, so it imports only TensorFlow."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import tensorflow as tf

from components.features import IMAGE_KEY, Contract
from registry.signatures import (
    EXAMPLES,
    MAX_BATCH,
    MAX_PIXELS,
    PIXELS,
    SERVING_DEFAULT,
    SHORTEST_SIDE,
    Signature,
    required_signatures,
)

_SENT_BATCH = 32

_MOST_NUMBERS = 2**27
"""Numbers in the largest request, half a gigabyte."""


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
    SENT = "image files"


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


@dataclass(frozen=True)
class Sample:
    """The images to test an export with.

    Attributes:
        images: Those of the good request, as the network sees them, uint8[n,height,width,channels].
        example_files: Gzipped TFRecords of raw tf.Examples, whose encoded images are sent unchanged.
        num_sent: How many of these images to send, the first ones.
    """

    images: np.ndarray
    example_files: Sequence[str] = ()
    num_sent: int = 0


def contract_signatures(contract: Contract) -> dict[str, Signature]:
    """Returns the signatures that an export must have."""
    return required_signatures(*contract.image_shape, len(contract.classes))


def fitting_images(images: np.ndarray) -> np.ndarray:
    """Returns as many images uint8[n,height,width,channels] as a request may contain, at least one."""
    return images[: _most_images(images)]


def _most_images(images: np.ndarray) -> int:
    height, width = images.shape[1:3]
    return max(1, MAX_PIXELS // (max(height, SHORTEST_SIDE) * max(width, SHORTEST_SIDE)))


def encode_images(signature: str, images: np.ndarray) -> np.ndarray:
    """Converts images to the input of a signature.

    Args:
        signature: Name of the signature.
        images: uint8[n,height,width,channels].

    Returns:
        PNG bytes object[n], pixels float32[n,height,width] or [n,height,width,3], or serialized raw tf.Examples
        object[n].
    """
    if signature == PIXELS:
        return (images[..., 0] if images.shape[-1] == 1 else images).astype(np.float32)
    files = [tf.io.encode_png(image).numpy() for image in images]
    return _strings([_example(file) for file in files] if signature == EXAMPLES else files)


def build_requests(signature: str, sample: Sample, huge_batch: int) -> Iterator[Request]:
    """Builds the requests to a signature, the good one first: if it fails, the others show nothing.

    Args:
        signature: Name of the signature.
        sample: At least one image.
        huge_batch: Number of images in the huge request; what the signature allows if that is less.
    """
    good = encode_images(signature, sample.images)
    alone = good[:1]
    yield Request(signature, Kind.GOOD, good)
    yield Request(signature, Kind.ALONE, alone)
    yield Request(signature, Kind.EMPTY, good[:0])
    most = MAX_BATCH[signature]
    allowed = min(huge_batch, most, _most_images(sample.images))
    yield Request(signature, Kind.HUGE, np.resize(good, (allowed, *good.shape[1:])))
    malformed = _malformed(signature, sample.images[:1])
    if (most + 1) * alone.size <= _MOST_NUMBERS:
        malformed[f"{most + 1} images"] = np.resize(good, (most + 1, *good.shape[1:]))
    for name, values in malformed.items():
        yield Request(signature, Kind.MALFORMED, values, name)
        yield Request(signature, Kind.AFTERWARDS, alone, name)
    yield Request(signature, Kind.LATENCY, alone)
    if signature == SERVING_DEFAULT:
        for files in _sent_files(sample):
            yield Request(signature, Kind.SENT, files)


def _sent_files(sample: Sample) -> Iterator[np.ndarray]:
    """Reads one batch at a time, because photos are large."""
    spec = {IMAGE_KEY: tf.io.FixedLenFeature([], tf.string)}
    records = tf.data.TFRecordDataset(list(sample.example_files), "GZIP").take(sample.num_sent).batch(_SENT_BATCH)
    return records.map(lambda batch: tf.io.parse_example(batch, spec)[IMAGE_KEY]).as_numpy_iterator()


def _malformed(signature: str, image: np.ndarray) -> dict[str, np.ndarray]:
    good = encode_images(signature, image)
    height, width = image.shape[1:3]
    if signature == PIXELS:
        not_a_number = good.copy()
        not_a_number[:, height // 2, width // 2] = np.nan
        malformed = {f"{height - 1} rows": good[:, :-1], f"{width - 1} columns": good[:, :, :-1]}
        return {**malformed, "a NaN pixel": not_a_number, "an extra dimension": good[np.newaxis]}
    [png] = encode_images(SERVING_DEFAULT, image)
    files = {
        "a text file": b"three, or maybe a seven\n",
        "a truncated PNG": png[: len(png) // 2],
        "a PNG of 30000 x 30000 pixels": _with_size_in_header(png, 30_000),
    }
    if signature == EXAMPLES:
        files = {f"a tf.Example of {name}": _example(file) for name, file in files.items()}
        # TensorFlow's message quotes what it cannot parse. Python cannot decode the quotation of an image.
        files |= {"a truncated tf.Example": _example(b"image")[:-1], "a tf.Example without image": _example(None)}
    return {**{name: _strings([file]) for name, file in files.items()}, "an extra dimension": good[np.newaxis]}


def _with_size_in_header(png: bytes, side: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">2I", side, side) + png[24:29]
    return png[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


def _example(image: bytes | None) -> bytes:
    features = {} if image is None else {IMAGE_KEY: tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def _strings(values: Sequence[bytes]) -> np.ndarray:
    # NumPy's own bytes type drops trailing zeros.
    return np.array(values, dtype=object)
