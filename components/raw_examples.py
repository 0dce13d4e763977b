"""Reads and writes raw tf.Examples, and finds the contract that travels with them."""

import os
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from numpy.typing import NDArray
from tfx.types import Artifact, artifact_utils
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from components.example_counts import damage_named
from components.features import IMAGE_KEY, LABEL_KEY, SCHEMA_FILE, Contract
from components.image_decoding import decode_images
from components.schema import parse_contract

WRITER_OPTIONS = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
"""How raw examples are written; their images are compressed already."""

# Parsing one record at a time takes ten times as long.
_BATCH_SIZE = 128

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOR_TYPES = {1: 0, 3: 2}
# More takes longer, and saves little on small images.
_COMPRESSION = 3


def find_files(examples: Artifact, split: str) -> list[str]:
    """Returns the paths of the TFRecords of a split, sorted.

    Args:
        examples: An `Examples` artifact.
        split: Name of the split.

    Raises:
        ValueError: The artifact has no such split.
        FileNotFoundError: The split has no files.
    """
    folder = artifact_utils.get_split_uri([examples], split)
    files = sorted(tf.io.gfile.glob(os.path.join(folder, "*.gz")))
    if not files:
        raise FileNotFoundError(f"{folder}: no files found, expected the TFRecords of a split.")
    return files


def find_contract(artifact: Artifact) -> Contract:
    """Reads the contract from the schema in the artifact of ImportSchemaGen or of raw examples.

    Raises:
        SchemaError: The schema defines no contract.
        tf.errors.NotFoundError: There is no schema.
    """
    file = os.path.join(artifact.uri, SCHEMA_FILE)
    with tf.io.gfile.GFile(file) as content:
        return parse_contract(content.read(), file)


def read_images(
    files: Sequence[str], contract: Contract, max_images: int = -1
) -> tuple[NDArray[np.uint8], NDArray[np.object_]]:
    """Reads images and labels in the order of the files.

    Args:
        files: Gzipped TFRecords of raw tf.Examples.
        contract: The contract of the examples.
        max_images: Number of images to read; -1 reads all.

    Returns:
        Images as the network sees them, uint8[n,height,width,channels], and labels, bytes object[n].

    Raises:
        LostExamplesError: A file is damaged.
    """
    batches = _read(files, max_images, lambda encoded: tf.cast(decode_images(encoded, contract.image_shape), tf.uint8))
    no_images = np.empty((0, *contract.image_shape), np.uint8)
    images = np.concatenate([no_images, *(images for images, _ in batches)])
    labels = np.concatenate([np.empty(0, object), *(labels for _, labels in batches)])
    return images, labels


def read_labels(files: Sequence[str], max_images: int = -1) -> list[bytes]:
    """Reads labels only; otherwise like `read_images`."""
    return [label for _, labels in _read(files, max_images, tf.zeros_like) for label in labels]


def _read(
    files: Sequence[str], max_images: int, convert: Callable[[tf.Tensor], tf.Tensor]
) -> list[tuple[NDArray[Any], NDArray[np.object_]]]:
    """Returns batches of images, converted from string[n], and labels."""
    spec = {key: tf.io.FixedLenFeature([], tf.string) for key in (IMAGE_KEY, LABEL_KEY)}

    # A map of the dataset would be optimized for each call, which takes 0.1 s.
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(max_images).batch(_BATCH_SIZE)
    with damage_named({os.path.dirname(file) for file in files}):
        batches = (tf.io.parse_example(batch, spec) for batch in records)
        return [(convert(batch[IMAGE_KEY]).numpy(), batch[LABEL_KEY].numpy()) for batch in batches]


def encode_png(images: NDArray[np.uint8]) -> list[bytes]:
    """Encodes images as PNG (https://www.w3.org/TR/png-3/), which is lossless.

    TensorFlow and Pillow try five filters for each row, which takes three times as long for small images.

    Args:
        images: uint8[n,height,width,channels], one or three channels.

    Returns:
        One file per image.
    """
    num_images, height, width, channels = images.shape
    # The first byte of a row is its filter, 0 for none.
    rows = np.zeros((num_images, height, 1 + width * channels), np.uint8)
    rows[..., 1:] = images.reshape(num_images, height, width * channels)
    header = _png_chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, _PNG_COLOR_TYPES[channels], 0, 0, 0))
    start, end = _PNG_SIGNATURE + header, _png_chunk(b"IEND", b"")
    return [start + _png_chunk(b"IDAT", zlib.compress(image, _COMPRESSION)) + end for image in rows]


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def serialize_examples(columns: Mapping[str, pa.Array]) -> list[bytes]:
    """Serializes tf.Examples.

    Args:
        columns: By name of the feature, one value per example: binary, int64 or float32; null if an example does not
            have the feature.

    Returns:
        One serialized tf.Example per row.
    """
    lists = [_lists(values) for values in columns.values()]
    encoded = RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_arrays(lists, list(columns)))
    # The encoder writes the features of an example in any order.
    return [tf.train.Example.FromString(example).SerializeToString(deterministic=True) for example in encoded]


def _lists(values: pa.Array) -> pa.ListArray:
    """Makes each value a list of its own, and each null a missing list."""
    is_valid = np.asarray(values.is_valid())
    offsets = np.concatenate([[0], np.cumsum(is_valid)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=np.append(~is_valid, False)), values.drop_null())
