"""Reads the raw tf.Examples that MnistExampleGen writes."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tfx.types import Artifact, artifact_utils

from components.example_counts import damage_named
from components.features import IMAGE_HEIGHT, IMAGE_KEY, IMAGE_WIDTH, LABEL_KEY

_FEATURE_SPEC = {
    IMAGE_KEY: tf.io.FixedLenFeature([IMAGE_HEIGHT, IMAGE_WIDTH], tf.int64),
    LABEL_KEY: tf.io.FixedLenFeature([], tf.int64),
}

# Parsing one record at a time takes ten times as long.
_BATCH_SIZE = 1024


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


def read_images(files: Sequence[str], max_images: int = -1) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Reads images and labels in the order of the files.

    Args:
        files: Gzipped TFRecords of tf.Examples with `image` int64[784] and `label` int64[1].
        max_images: Number of images to read; -1 reads all.

    Returns:
        Images uint8[n,28,28], 0 background to 255 ink, and labels int64[n].

    Raises:
        LostExamplesError: A file is damaged.
    """
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(max_images).batch(_BATCH_SIZE)
    with damage_named({os.path.dirname(file) for file in files}):
        batches = list(records.map(lambda batch: tf.io.parse_example(batch, _FEATURE_SPEC)).as_numpy_iterator())
    no_images = np.empty((0, IMAGE_HEIGHT, IMAGE_WIDTH), np.uint8)
    images = np.concatenate([no_images, *(batch[IMAGE_KEY].astype(np.uint8) for batch in batches)])
    labels = np.concatenate([np.empty(0, np.int64), *(batch[LABEL_KEY] for batch in batches)])
    return images, labels
