"""Datasets of training and evaluation batches, from the TFRecords that Transform writes."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.example_counts import check_count, damage_named
from components.features import IMAGE_KEY, LABEL_KEY, NUM_CLASSES
from components.trainer.augmentation import augment
from components.trainer.hyperparameters import Hyperparameters

_BATCH_SIZE = 1024
_SHUFFLE_BUFFER_SIZE = 16_384


def read_examples(file_patterns: Sequence[str], feature_spec: Mapping[str, Any]) -> tf.data.Dataset:
    """Reads transformed examples from gzipped TFRecords into memory, in a fixed order.

    Args:
        file_patterns: Glob patterns of the files of a split, which TFX passes to `run_fn`.
        feature_spec: Feature spec of the transformed examples, from `TFTransformOutput`.

    Returns:
        A dataset of known size of (image float32[28,28,1], label int64[]).

    Raises:
        LostExamplesError: Examples are missing.
        tf.errors.InvalidArgumentError: No file matches the patterns.
    """
    files = tf.data.Dataset.list_files(list(file_patterns), shuffle=False)
    serialized = tf.data.TFRecordDataset(files, compression_type="GZIP", num_parallel_reads=tf.data.AUTOTUNE)

    def parse(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = tf.io.parse_example(batch, dict(feature_spec))
        return features[IMAGE_KEY], tf.reshape(features[LABEL_KEY], [-1])

    examples = serialized.batch(_BATCH_SIZE).map(parse, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    # A split fits in memory as floats; parsing it again for each epoch would cost more than learning from it.
    examples = examples.cache()
    # TFRecords do not store their number; the learning rate schedule needs it.
    folders = {os.path.dirname(pattern) for pattern in file_patterns}
    with damage_named(folders):
        size = examples.reduce(np.int64(0), lambda total, _: total + 1)
    check_count(folders, int(size))
    return examples.apply(tf.data.experimental.assert_cardinality(size))


def training_batches(
    examples: tf.data.Dataset, hyperparameters: Hyperparameters, num_devices: int = 1
) -> tf.data.Dataset:
    """Reshuffles for each epoch, batches and augments.

    Args:
        examples: Dataset of (image, label), from `read_examples`.
        hyperparameters: Batch size, seed and augmentation.
        num_devices: Number of devices that share a batch, which has `batch_size` images for each of them.

    Returns:
        A dataset of (images float32[n,28,28,1], one-hot labels float32[n,10]).
    """

    def augmented(batch: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = batch
        return augment(images, hyperparameters, seed), tf.one_hot(labels, NUM_CLASSES)

    shuffled = examples.shuffle(_SHUFFLE_BUFFER_SIZE, seed=hyperparameters.seed, reshuffle_each_iteration=True)
    # With a smaller last batch some devices would get no image, and batch normalization no statistics.
    batches = shuffled.batch(hyperparameters.batch_size * num_devices, drop_remainder=num_devices > 1)
    # Seeds travel with the batches: drawn inside the map they would depend on which thread comes first.
    seeds = tf.data.Dataset.random(seed=hyperparameters.seed, rerandomize_each_iteration=True).batch(2)
    return (
        tf.data.Dataset.zip((batches, seeds))
        .map(augmented, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_batches(examples: tf.data.Dataset) -> tf.data.Dataset:
    """Batches (image, label) into (images float32[n,28,28,1], one-hot labels float32[n,10]), in order."""
    return (
        examples.batch(_BATCH_SIZE)
        .map(lambda images, labels: (images, tf.one_hot(labels, NUM_CLASSES)), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
