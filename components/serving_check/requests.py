"""What an export is asked: good, lone, empty, huge and malformed requests to every signature, from test images."""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from components.features import IMAGE_KEY
from components.serving_check.contract import input_name
from components.serving_check.exchange import Kind, Request
from components.serving_check.limits import ServingLimits
from registry.signatures import EXAMPLES, NORMALIZE, PIXELS, SERVING_DEFAULT

NUM_TIMED_REQUESTS = 100
"""Enough for a 99th percentile that one hiccup of the machine does not decide."""


def encode_images(signature: str, images: np.ndarray) -> np.ndarray:
    """Puts images into the form that a signature takes.

    Args:
        signature: One of those of the contract.
        images: uint8[n,28,28], 0 background to 255 ink.

    Returns:
        PNG bytes object[n], pixels float32[n,28,28] or serialized raw tf.Examples object[n].
    """
    return _ENCODERS[signature](images)


def build_requests(images: np.ndarray, signatures: Iterable[str], limits: ServingLimits) -> tuple[Request, ...]:
    """Makes the requests in the order in which they are sent.

    Args:
        images: uint8[n,28,28], at least one.
        signatures: Those to ask, of the contract.
        limits: Size of the huge batch.

    Returns:
        Per signature the good request first: without an answer to it the others show nothing.
    """
    return tuple(
        Request(signature, kind, input_name(signature), values, name, NUM_TIMED_REQUESTS if kind == Kind.LATENCY else 1)
        for signature in signatures
        for kind, name, values in _requests(signature, images, limits.huge_batch)
    )


def _requests(signature: str, images: np.ndarray, huge_batch: int) -> Iterator[tuple[Kind, str, np.ndarray]]:
    good = encode_images(signature, images)
    alone = good[:1]
    yield Kind.GOOD, "", good
    yield Kind.ALONE, "", alone
    yield Kind.EMPTY, "", good[:0]
    yield Kind.HUGE, "", np.resize(good, (huge_batch, *good.shape[1:]))
    for name, values in _MALFORMED[signature](images[:1]).items():
        yield Kind.MALFORMED, name, values
        yield Kind.AFTERWARDS, name, alone
    yield Kind.LATENCY, "", alone


def _pngs(images: np.ndarray) -> np.ndarray:
    return _strings([tf.io.encode_png(image[..., np.newaxis]).numpy() for image in images])


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32)


def _examples(images: np.ndarray) -> np.ndarray:
    return _strings([_example({IMAGE_KEY: image}) for image in images])


def _malformed_pngs(image: np.ndarray) -> dict[str, np.ndarray]:
    (png,) = _pngs(image)
    return {
        "a text file": _strings([b"three, or maybe a seven\n"]),
        "a truncated PNG": _strings([png[: len(png) // 2]]),
        "a PNG of 30000 x 30000 pixels": _strings([_resized_header(png, 30_000)]),
        "a dimension too many": _strings([png])[np.newaxis],
    }


def _resized_header(png: bytes, side: int) -> bytes:
    """Writes another size into the header of a PNG, and its checksum."""
    chunk = b"IHDR" + struct.pack(">2I", side, side) + png[24:29]
    return png[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


def _malformed_pixels(image: np.ndarray) -> dict[str, np.ndarray]:
    pixels = _pixels(image)
    blotted = pixels.copy()
    blotted[:, 14, 14] = np.nan
    return {
        "27 rows": pixels[:, :-1],
        "27 columns": pixels[:, :, :-1],
        "a dimension too many": pixels[np.newaxis],
        "a pixel that is no number": blotted,
    }


def _malformed_examples(image: np.ndarray) -> dict[str, np.ndarray]:
    (example,) = _examples(image)
    # TensorFlow's message quotes what it cannot parse; of a whole image Python could not read the quotation.
    short_example = _example({IMAGE_KEY: np.zeros(3, np.uint8)})
    return {
        "a truncated tf.Example": _strings([short_example[:-1]]),
        "a tf.Example without image": _strings([_example({})]),
        "a tf.Example of 27 rows": _strings([_example({IMAGE_KEY: image[0, :-1]})]),
        "a dimension too many": _strings([example])[np.newaxis],
    }


def _example(features: Mapping[str, np.ndarray]) -> bytes:
    lists = {
        key: tf.train.Feature(int64_list=tf.train.Int64List(value=values.ravel())) for key, values in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString(deterministic=True)


def _strings(values: Sequence[bytes]) -> np.ndarray:
    # NumPy's own type for bytes would drop zeros at their end.
    return np.array(values, dtype=object)


_ENCODERS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    SERVING_DEFAULT: _pngs,
    PIXELS: _pixels,
    EXAMPLES: _examples,
    NORMALIZE: _pngs,
}

_MALFORMED: Mapping[str, Callable[[np.ndarray], dict[str, np.ndarray]]] = {
    SERVING_DEFAULT: _malformed_pngs,
    PIXELS: _malformed_pixels,
    EXAMPLES: _malformed_examples,
    NORMALIZE: _malformed_pngs,
}
