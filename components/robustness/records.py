"""Images from and to files of raw tf.Examples, a whole file at once."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import tensorflow as tf
from numpy.typing import NDArray
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from components.features import IMAGE_HEIGHT, IMAGE_KEY, IMAGE_SIZE, IMAGE_WIDTH, LABEL_KEY
from components.robustness.corruptions import CORRUPTION_KEY
from components.robustness.pixels import Images

READ_BATCH = 1024
"""Records read at once; one by one takes ten times as long."""

COMPRESSION_LEVEL = 1
"""Corrupted copies are read once or twice: this takes a third of the time of the default, and 15 % more space."""

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledImages:
    """Images and what they show.

    Attributes:
        images: uint8[n,28,28].
        labels: int64[n].
    """

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "LabelledImages":
        """Returns the first `count` of them."""
        return LabelledImages(self.images[:count], self.labels[:count])


def read_images(path: str) -> LabelledImages:
    """Reads a file that MnistExampleGen wrote.

    Args:
        path: Gzipped TFRecords of tf.Examples with `image` int64[784] and `label` int64[1].

    Returns:
        All of its images, in their order.
    """
    dataset = tf.data.TFRecordDataset(path, compression_type="GZIP").batch(READ_BATCH)
    records = np.concatenate([np.empty(0, object), *dataset.as_numpy_iterator()])
    features = {
        IMAGE_KEY: tf.io.FixedLenFeature([IMAGE_SIZE], tf.int64),
        LABEL_KEY: tf.io.FixedLenFeature([], tf.int64),
    }
    parsed = tf.io.parse_example(tf.constant(records, tf.string), features)
    images = parsed[IMAGE_KEY].numpy().astype(np.uint8)
    return LabelledImages(images.reshape(-1, IMAGE_HEIGHT, IMAGE_WIDTH), parsed[LABEL_KEY].numpy())


def write_images(path: str, labelled: LabelledImages, corruption: str) -> int:
    """Writes corrupted images as gzipped TFRecords.

    Args:
        path: File to write, in a folder that exists.
        labelled: Images and labels.
        corruption: Name of the corruption.

    Returns:
        How many records were written.
    """
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=COMPRESSION_LEVEL)
    num_records = 0
    with tf.io.TFRecordWriter(path, options) as writer:
        for example in encode_examples(labelled, corruption):
            writer.write(example)
            num_records += 1
    return num_records


def encode_examples(labelled: LabelledImages, corruption: str) -> list[bytes]:
    """Serializes images as raw tf.Examples: `image` int64[784], `label` int64[1] and `corruption` bytes[1]."""
    count = len(labelled)
    columns = {
        IMAGE_KEY: (pa.array(labelled.images.astype(np.int64).ravel()), IMAGE_SIZE),
        LABEL_KEY: (pa.array(labelled.labels), 1),
        CORRUPTION_KEY: (pa.array([corruption.encode()] * count, pa.binary()), 1),
    }
    lists = [
        pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * size, values)
        for values, size in columns.values()
    ]
    return RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_arrays(lists, list(columns)))
