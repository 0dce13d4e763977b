"""The `run_fn` of the Trainer component: trains on train, selects and calibrates on eval, and exports for serving."""

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorboard.plugins.hparams import api as hparams
from tfx.components.trainer.fn_args_utils import FnArgs

from components.features import Contract
from components.progress import log_progress
from components.schema import parse_contract
from components.trainer.datasets import (
    add_drawn_ones,
    evaluation_batches,
    read_examples,
    steps_per_epoch,
    training_batches,
)
from components.trainer.distribution import DistributedModel, choose_strategy, is_chief
from components.trainer.hyperparameters import HYPERPARAMETERS_KEY, Hyperparameters
from components.trainer.model import build_model, compile_model
from components.trainer.outliers import fit_outlier_detector, with_features
from components.trainer.signatures import ServingModel, export_model, fit_temperature

TEMPERATURE_TAG = "temperature"
PARAMETERS_TAG = "parameters"
"""Tags of TensorBoard's scalars: the divisor of the logits, and the number of trainable parameters."""

logger = logging.getLogger(__name__)

_UPDATES_PER_EPOCH = 10


def run_fn(fn_args: FnArgs) -> None:
    """Trains, calibrates and exports; the Trainer component calls this.

    If several machines train together, each calls this with the same arguments, and only the chief exports.

    Args:
        fn_args: Files of the train and eval splits of raw examples, their schema, the Transform output, the folders of
            the model (`serving_model_dir`) and of the TensorBoard logs (`model_run_dir`), and in
            `custom_config["hyperparameters"]` the fields of `Hyperparameters`.

    Raises:
        SchemaError: The schema defines no contract.
    """
    strategy = choose_strategy()
    hyperparameters = Hyperparameters.model_validate(fn_args.custom_config[HYPERPARAMETERS_KEY])
    with tf.io.gfile.GFile(fn_args.schema_path) as file:
        contract = parse_contract(file.read(), fn_args.schema_path)
    transform = tft.TFTransformOutput(fn_args.transform_output)
    train = add_drawn_ones(read_examples(fn_args.train_files, transform), transform, contract, hyperparameters)
    evaluation = read_examples(fn_args.eval_files, transform)

    model = train_model(train, evaluation, contract, hyperparameters, Path(fn_args.model_run_dir), strategy)
    if not is_chief(strategy):
        return
    temperature = fit_temperature(*predict_logits(model, evaluation))
    logger.info("calibrated on eval: temperature %.3f", temperature)
    with tf.summary.create_file_writer(fn_args.model_run_dir).as_default(step=0):
        tf.summary.scalar(TEMPERATURE_TAG, temperature)
        tf.summary.scalar(PARAMETERS_TAG, sum(math.prod(weight.shape) for weight in model.trainable_weights))
    share, seed = hyperparameters.unsure_share, hyperparameters.seed
    detector = fit_outlier_detector(with_features(model), evaluation, share, seed) if share else None
    serving_model = ServingModel(model, transform, contract, temperature, hyperparameters, detector)
    export_model(serving_model, fn_args.serving_model_dir)


def train_model(
    train: tf.data.Dataset,
    evaluation: tf.data.Dataset,
    contract: Contract,
    hyperparameters: Hyperparameters,
    log_dir: Path,
    strategy: tf.distribute.Strategy | None = None,
) -> keras.Model:
    """Trains a new model until the eval loss stops falling, and restores its best weights.

    Args:
        train: Training dataset of known size of (image float32[height,width,channels], standardized, label int64[]).
        evaluation: Dataset of the same kind, for early stopping and selection.
        contract: Size of the images and classes.
        hyperparameters: Settings of the training.
        log_dir: Folder of the TensorBoard logs.
        strategy: Devices to train on; default: those of this machine.

    Returns:
        The trained model, from standardized images to logits.
    """
    keras.utils.set_random_seed(hyperparameters.seed)
    strategy = strategy or choose_strategy()
    num_classes = len(contract.classes)
    num_steps = steps_per_epoch(len(train), hyperparameters, strategy.num_replicas_in_sync)
    early_stopping = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=hyperparameters.patience, restore_best_weights=True
    )
    callbacks = [early_stopping]
    if is_chief(strategy):
        callbacks += [
            keras.callbacks.TensorBoard(log_dir=str(log_dir), update_freq="epoch"),
            # Without an ID, TensorBoard shows the name of the run instead of a hash.
            hparams.KerasCallback(str(log_dir), hyperparameters.model_dump(), trial_id=""),
            ProgressLogger(),
        ]

    def training_part(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training_batches(train, num_classes, hyperparameters, context)

    def evaluation_part(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return evaluation_batches(evaluation, num_classes, context)

    with strategy.scope():
        network = build_model(contract, hyperparameters)
    model = DistributedModel(network.input, network.output, name=network.name)
    with strategy.scope():
        compile_model(model, hyperparameters, num_steps * hyperparameters.epochs)
        # Several devices cannot create these variables in their first step.
        model.optimizer.build(model.trainable_variables)
        model.fit(
            strategy.distribute_datasets_from_function(training_part),
            validation_data=strategy.distribute_datasets_from_function(evaluation_part),
            epochs=hyperparameters.epochs,
            steps_per_epoch=num_steps,
            shuffle=False,  # The dataset shuffles itself.
            verbose=0,
            callbacks=callbacks,
        )
    return model


def predict_logits(model: keras.Model, examples: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logits float32[n,k] of k classes and the labels int64[n] of a dataset of (image, label)."""
    batches = evaluation_batches(examples, model.output_shape[-1])
    labels = np.concatenate([one_hot.argmax(axis=-1) for _, one_hot in batches.as_numpy_iterator()])
    return model.predict(batches, verbose=0), labels


class ProgressLogger(keras.callbacks.Callback):
    """Logs the results of each epoch at INFO, and the progress within it at DEBUG."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remembers the epoch and its start; Keras calls this."""
        self._num_epochs_done = epoch
        self._epoch_start = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Logs the metrics of the epoch so far, about ten times per epoch; Keras calls this."""
        num_steps = self.params["steps"]
        if (batch + 1) % max(1, num_steps // _UPDATES_PER_EPOCH) == 0:
            self._log(logging.DEBUG, _describe_metrics(logs or {}), (batch + 1) / num_steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Logs loss and accuracy on train and on eval; Keras calls this."""
        values = logs or {}
        results = f"{_describe_metrics(values)}; eval {values['val_loss']:.4f}, {100 * values['val_accuracy']:.2f} %"
        self._log(logging.INFO, f"{results} ({time.monotonic() - self._epoch_start:.0f} s)", 1.0)

    def _log(self, level: int, text: str, epoch_progress: float) -> None:
        num_epochs = self.params["epochs"]
        progress = (self._num_epochs_done + epoch_progress) / num_epochs
        log_progress(logger, level, f"epoch {self._num_epochs_done + 1}/{num_epochs}: {text}", progress)


def _describe_metrics(metrics: Mapping[str, float]) -> str:
    return f"loss {metrics['loss']:.4f}, accuracy {100 * metrics['accuracy']:.2f} %"
