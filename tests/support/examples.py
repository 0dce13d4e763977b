"""Contracts, and raw examples that keep them, written without the code of the pipeline."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from components.example_counts import write_counts
from components.features import Contract

DIGITS = Contract(tuple("0123456789"), 28, 28, 1)
"""The contract of data/schema.pbtxt."""

SHAPES = Contract(("circle", "Quadrat groß", "triangle"), 20, 32, 3)
"""Color images that are not square."""


def schema_text(contract: Contract) -> str:
    """Returns the shortest schema that defines a contract and its examples."""
    classes = " ".join(f'value: "{name}"' for name in contract.classes)
    tags = " ".join(f'tag: "{key}: {getattr(contract, key)}"' for key in ("height", "width", "channels"))
    one = "presence { min_fraction: 1 min_count: 1 } shape {}"
    return f"""
        feature {{ name: "image" type: BYTES {one} image_domain {{}} annotation {{ {tags} }} }}
        feature {{ name: "label" type: BYTES {one} string_domain {{ name: "class" {classes} }} }}
        feature {{ name: "brightness_mean" type: FLOAT {one} }}
        feature {{ name: "brightness_deviation" type: FLOAT {one} }}
    """


def raw_example(image: np.ndarray, label: str) -> dict[str, Any]:
    """Returns the features of a raw example that Transform reads.

    Args:
        image: uint8[h,w], uint8[h,w,1] or uint8[h,w,3].
        label: Name of its class.
    """
    luminance = image @ (0.299, 0.587, 0.114) if image.shape[2:] == (3,) else image
    brightness = {"brightness_mean": luminance.mean(), "brightness_deviation": luminance.std()}
    return {"image": png(image), "label": label.encode(), **brightness}


def png(image: np.ndarray) -> bytes:
    """Encodes an image uint8[h,w], uint8[h,w,1] or uint8[h,w,3]."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image).save(buffer, "PNG")
    return buffer.getvalue()


def serialize(**features: bytes) -> bytes:
    """Serializes a tf.Example of strings, such as `serialize(image=png(image), label=b"3")`."""
    lists = {key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for key, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString(deterministic=True)


def write_records(file: Path, records: Sequence[bytes]) -> None:
    """Writes gzipped TFRecords; makes the folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for record in records:
            writer.write(record)


def make_examples(folder: Path, contract: Contract, splits: Mapping[str, Sequence[Sequence[bytes]]]) -> Any:
    """Writes an `Examples` artifact with its schema.

    Args:
        folder: Folder of the artifact.
        contract: What its schema defines.
        splits: By name of the split, the records of each file.
    """
    # TFX takes seconds to import, and most users of this module do not need it.
    from tfx.types.artifact_utils import encode_split_names
    from tfx.types.standard_artifacts import Examples

    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, shards in splits.items():
        for number, records in enumerate(shards):
            path = f"Split-{split}/data_tfrecord-{number:05d}-of-{len(shards):05d}.gz"
            write_records(folder / path, records)
            counts[path] = len(records)
    (folder / "schema.pbtxt").write_text(schema_text(contract), encoding="utf-8")
    write_counts(counts, str(folder))
    examples = Examples()
    examples.uri = str(folder)
    examples.split_names = encode_split_names(list(splits))
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    # Without a version, TFX assumes an old layout of the files.
    examples.set_string_custom_property("tfx_version", "1.21.0")
    return examples
