"""Datasets of training and evaluation batches, from raw examples that pass through the Transform graph."""

import math
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow.autograph.experimental import do_not_convert

from components.example_counts import check_count, damage_named
from components.features import IMAGE_KEY, LABEL_KEY, Contract
from components.trainer.augmentation import augment
from components.trainer.drawn_ones import draw_ones
from components.trainer.hyperparameters import Hyperparameters
from registry.errors import UsageError

_BATCH_SIZE = 1024
_SHUFFLE_BUFFER_SIZE = 16_384
_NUM_PREFETCHED = 4
_ONE = "1"


def read_examples(file_patterns: Sequence[str], transform: tft.TFTransformOutput) -> tf.data.Dataset:
    """Reads raw examples from gzipped TFRecords, and transforms them into memory, in a fixed order.

    Args:
        file_patterns: Glob patterns of the files of a split, which TFX passes to `run_fn`.
        transform: Output of the Transform component.

    Returns:
        A dataset of known size of (image float32[height,width,channels], standardized, label int64[]).

    Raises:
        LostExamplesError: Examples are missing.
        tf.errors.InvalidArgumentError: No file matches the patterns.
    """
    files = tf.data.Dataset.list_files(list(file_patterns), shuffle=False)
    serialized = tf.data.TFRecordDataset(files, compression_type="GZIP", num_parallel_reads=tf.data.AUTOTUNE)
    spec = {key: tf.io.FixedLenFeature([], tf.string) for key in (IMAGE_KEY, LABEL_KEY)}
    layer = transform.transform_features_layer()

    @do_not_convert
    def parse(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = layer.call(tf.io.parse_example(batch, spec))
        return features[IMAGE_KEY], features[LABEL_KEY]

    examples = serialized.batch(_BATCH_SIZE).map(parse, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    # A split fits in memory as floats, and so is decoded only once.
    examples = examples.cache()
    # TFRecords do not store their number; the learning rate schedule needs it.
    folders = {os.path.dirname(pattern) for pattern in file_patterns}
    with damage_named(folders):
        size = examples.reduce(np.int64(0), lambda total, _: total + 1)
    check_count(folders, int(size))
    return examples.apply(tf.data.experimental.assert_cardinality(size))


def add_drawn_ones(
    train: tf.data.Dataset, transform: tft.TFTransformOutput, contract: Contract, hyperparameters: Hyperparameters
) -> tf.data.Dataset:
    """Adds drawn ones to a dataset from `read_examples`, if there is a class `1` of drawings."""
    num_images = round(hyperparameters.drawn_ones_share * len(train))
    if not num_images or _ONE not in contract.classes or hyperparameters.preparation != "ink":
        return train
    drawn = draw_ones(num_images, contract.height, contract.width, hyperparameters.seed)
    images = transform.transform_features_layer().call({IMAGE_KEY: tf.io.encode_png(drawn[..., np.newaxis])})[IMAGE_KEY]
    labels = np.full(num_images, contract.classes.index(_ONE))
    return train.concatenate(tf.data.Dataset.from_tensor_slices((images, labels)))


def steps_per_epoch(num_examples: int, hyperparameters: Hyperparameters, num_devices: int) -> int:
    """Returns the number of batches of an epoch, each of which has `batch_size` images for each device.

    Raises:
        UsageError: Several devices have too few images for one batch.
    """
    batch_size = hyperparameters.batch_size * num_devices
    if num_devices == 1:
        return math.ceil(num_examples / batch_size)
    if num_examples < batch_size:
        raise UsageError(
            f"{num_examples} training images for {num_devices} devices with trainer.batch_size="
            f"{hyperparameters.batch_size}: expected at least {batch_size}; lower trainer.batch_size, or use fewer "
            "devices."
        )
    # With a smaller last batch some devices would get no image, and batch normalization no statistics.
    return num_examples // batch_size


def training_batches(
    examples: tf.data.Dataset,
    num_classes: int,
    hyperparameters: Hyperparameters,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Reshuffles for each epoch, batches and augments, with fewer and fewer disturbed images.

    Args:
        examples: Dataset of (image, label), from `read_examples`.
        num_classes: Number of classes.
        hyperparameters: Batch size, seed and augmentation.
        context: Number of devices that train together, and this machine's place among others; default: one device.

    Returns:
        A dataset of (images float32[n,height,width,channels], one-hot labels float32[n,num_classes]), of all epochs,
        with `batch_size` images for one device of this machine after the other.
    """
    context = context or tf.distribute.InputContext()
    num_devices = context.num_replicas_in_sync
    num_steps = hyperparameters.epochs * steps_per_epoch(len(examples), hyperparameters, num_devices)
    shuffled = examples.shuffle(_SHUFFLE_BUFFER_SIZE, seed=hyperparameters.seed, reshuffle_each_iteration=True)
    batches = shuffled.batch(hyperparameters.batch_size * num_devices, drop_remainder=num_devices > 1)
    # Seeds travel with the batches: drawn inside the map they would depend on which thread comes first.
    seed = hyperparameters.seed + context.input_pipeline_id
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    @do_not_convert
    def prepare(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = (values[context.input_pipeline_id :: context.num_input_pipelines] for values in batch)
        progress = tf.cast(step, tf.float32) / num_steps
        return augment(images, hyperparameters, seed, progress), tf.one_hot(labels, num_classes)

    prepared = tf.data.Dataset.zip((tf.data.Dataset.range(num_steps), batches.repeat(), seeds)).map(
        prepare, num_parallel_calls=os.cpu_count()
    )
    per_device = prepared.rebatch(hyperparameters.batch_size) if num_devices > 1 else prepared
    options = tf.data.Options()
    # The thread that tunes a dataset sleeps for up to a minute, and the end of the training would wait for it.
    options.autotune.enabled = False
    return per_device.prefetch(_NUM_PREFETCHED).with_options(options)


def evaluation_batches(
    examples: tf.data.Dataset, num_classes: int, context: tf.distribute.InputContext | None = None
) -> tf.data.Dataset:
    """Batches (image, label) in order, with one-hot labels float32[n,num_classes].

    Args:
        examples: Dataset of (image, label) of known size.
        num_classes: Number of classes.
        context: As for `training_batches`. Several devices get equally many batches of one size, because Keras cannot
            evaluate an empty batch; the last images are left out, fewer than one per batch.
    """
    context = context or tf.distribute.InputContext()
    num_devices = context.num_replicas_in_sync
    if num_devices > 1:
        num_steps = math.ceil(len(examples) / (_BATCH_SIZE * num_devices))
        batch_size = len(examples) // (num_steps * num_devices)
        part = examples.take(num_steps * num_devices * batch_size)
        batches = part.shard(context.num_input_pipelines, context.input_pipeline_id).batch(batch_size)
    else:
        batches = examples.batch(_BATCH_SIZE)
    one_hot = do_not_convert(lambda images, labels: (images, tf.one_hot(labels, num_classes)))
    return batches.map(one_hot, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
