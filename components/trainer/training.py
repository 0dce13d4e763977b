"""What the Trainer component runs: learn on train, choose and calibrate on eval, export for serving."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from components.trainer.calibration import fit_temperature
from components.trainer.datasets import evaluation_batches, read_examples, training_batches
from components.trainer.hyperparameters import HYPERPARAMETERS_KEY, Hyperparameters
from components.trainer.model import build_model, compile_model
from components.trainer.progress import ProgressLogger
from components.trainer.signatures import DigitAnswers, export_model

logger = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> None:
    """Trains, calibrates and exports; the Trainer component calls this.

    Args:
        fn_args: Files of the train and eval splits, the Transform output, where to write the model
            (`serving_model_dir`) and the TensorBoard logs (`model_run_dir`), and in
            `custom_config["hyperparameters"]` the fields of `Hyperparameters`.
    """
    hyperparameters = Hyperparameters.model_validate(fn_args.custom_config[HYPERPARAMETERS_KEY])
    transform = tft.TFTransformOutput(fn_args.transform_output)
    feature_spec = transform.transformed_feature_spec()
    train = _load(fn_args.train_files, feature_spec)
    evaluation = _load(fn_args.eval_files, feature_spec)

    model = train_model(train, evaluation, hyperparameters, Path(fn_args.model_run_dir))
    temperature = fit_temperature(*predict_logits(model, evaluation))
    logger.info("calibrated on eval: temperature %.3f", temperature)
    answers = DigitAnswers(model, transform, temperature, hyperparameters.low_confidence)
    export_model(answers, fn_args.serving_model_dir)


def train_model(
    train: tf.data.Dataset,
    evaluation: tf.data.Dataset,
    hyperparameters: Hyperparameters,
    log_dir: Path,
    strategy: tf.distribute.Strategy | None = None,
) -> keras.Model:
    """Trains a new model until the eval loss no longer falls, and returns its best weights.

    Args:
        train: Dataset of (image float32[28,28,1], standardized, label int64[]) to learn from, of known size.
        evaluation: The like, to stop and choose by.
        hyperparameters: How to train.
        log_dir: Where the TensorBoard logs go.
        strategy: Devices to train on; all GPUs of this machine if there are any, else the CPU, if not given.

    Returns:
        The trained model, from standardized images to logits.
    """
    keras.utils.set_random_seed(hyperparameters.seed)
    strategy = strategy or _default_strategy()
    batches = training_batches(train, hyperparameters, strategy.num_replicas_in_sync)
    with strategy.scope():
        model = build_model(hyperparameters.dropout)
        compile_model(model, hyperparameters, hyperparameters.epochs * len(batches))
    model.fit(
        batches,
        validation_data=evaluation_batches(evaluation),
        epochs=hyperparameters.epochs,
        shuffle=False,  # The dataset shuffles itself.
        verbose=0,
        callbacks=[
            keras.callbacks.TensorBoard(log_dir=str(log_dir), update_freq="epoch"),
            keras.callbacks.EarlyStopping(
                monitor="val_loss", patience=hyperparameters.patience, restore_best_weights=True
            ),
            ProgressLogger(len(batches)),
        ],
    )
    return model


def predict_logits(model: keras.Model, examples: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logits float32[n,10] and the labels int64[n] of a dataset of (image, label)."""
    batches = evaluation_batches(examples)
    logits = model.predict(batches, verbose=0)
    labels = np.concatenate([np.argmax(one_hot, axis=-1) for _, one_hot in batches.as_numpy_iterator()])
    return logits, labels


def _default_strategy() -> tf.distribute.Strategy:
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _load(file_patterns: Sequence[str], feature_spec: Mapping[str, Any]) -> tf.data.Dataset:
    # A split fits in memory as floats; parsing it again for each epoch would cost more than learning from it.
    examples = read_examples(file_patterns, feature_spec).cache()
    # TFRecords do not say how many they are; the schedule of the learning rate has to know.
    size = examples.reduce(np.int64(0), lambda total, _: total + 1)
    return examples.apply(tf.data.experimental.assert_cardinality(size))
