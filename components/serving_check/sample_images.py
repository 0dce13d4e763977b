"""The images that an export is asked about: the first of a split of raw tf.Examples."""

import os

import numpy as np
import tensorflow as tf
from tfx.types import Artifact, artifact_utils

from components.features import IMAGE_HEIGHT, IMAGE_KEY, IMAGE_WIDTH

_FILE_PATTERN = "*.gz"


def read_images(examples: Artifact, split: str, num_images: int) -> np.ndarray:
    """Reads the first images of a split.

    Args:
        examples: `Examples` with raw tf.Examples: `image` int64[784].
        split: Name of the split.
        num_images: How many; all where the split has fewer.

    Returns:
        uint8[n,28,28], 0 background to 255 ink.

    Raises:
        ValueError: There is no such split, or no example in it.
    """
    folder = artifact_utils.get_split_uri([examples], split)
    files = sorted(tf.io.gfile.glob(os.path.join(folder, _FILE_PATTERN)))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(num_images)
    serialized = list(records.as_numpy_iterator())
    if not serialized:
        raise ValueError(f"{folder}: no example in the split {split!r}, expected at least one to ask the export about.")
    spec = {IMAGE_KEY: tf.io.FixedLenFeature([IMAGE_HEIGHT, IMAGE_WIDTH], tf.int64)}
    return tf.io.parse_example(serialized, spec)[IMAGE_KEY].numpy().astype(np.uint8)
