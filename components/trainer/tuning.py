"""The Tuner component and its `tuner_fn`: a search for hyperparameters on train and eval."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from keras_tuner.engine.trial import Trial
from keras_tuner.errors import FailedTrialError, FatalRuntimeError
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import Tuner as TfxTuner
from tfx.components.tuner.component import TunerFnResult
from tfx.components.tuner.executor import Executor as TfxExecutor
from tfx.components.tuner.executor import search as search_trials
from tfx.components.tuner.executor import write_best_hyperparameters
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import Artifact, artifact_utils
from tfx.types.standard_component_specs import TUNER_RESULTS_KEY

from components.features import Contract
from components.schema import parse_contract
from components.trainer.datasets import read_examples
from components.trainer.hyperparameters import HYPERPARAMETERS_KEY, SEARCH_KEY, Hyperparameters, Search
from components.trainer.signatures import fit_temperature, log_loss
from components.trainer.training import predict_logits, train_model
from registry.errors import ExpectedError

logger = logging.getLogger(__name__)

TRIALS_FILE = "trials.json"
"""The completed trials in the artifact `tuner_results`, best first."""

AUGMENTATION = "augmentation"
"""Strength of the augmentation: a factor of the largest rotation, zoom, shear and shift."""

SEARCH_SPACE: Mapping[str, Mapping[str, Any]] = {
    "learning_rate": {"min_value": 0.002, "max_value": 0.05, "sampling": "log"},
    "weight_decay": {"min_value": 0.01, "max_value": 0.5, "sampling": "log"},
    "label_smoothing": {"min_value": 0.0, "max_value": 0.2},
    "width": {"min_value": 32, "max_value": 96, "step": 16},
    "depth": {"min_value": 1, "max_value": 4},
    AUGMENTATION: {"min_value": 0.0, "max_value": 2.0},
}
"""What is searched.

`disturbed_share` is not: it makes the network robust, which the clean images of eval do not show.
"""

_TUNED = {"learning_rate", "weight_decay", "label_smoothing", "width", "depth", "rotation", "zoom", "shear", "shift"}
_AUGMENTATION_LIMITS: Mapping[str, float] = {"rotation": 180.0, "zoom": 0.9, "shear": 0.9, "shift": math.inf}
_NUM_RANDOM_TRIALS = 6
"""Trials before the oracle has a model of the loss: one for each dimension of the search space."""

_LOSS, _ACCURACY, _SECONDS, _PARAMETERS = "eval_loss", "eval_accuracy", "seconds", "parameters"


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Creates the tuner; the Tuner component calls this, and then searches.

    Bayesian optimization makes the most of few trials. Hyperband would rate the first epochs of a training, but its
    learning rate falls only in the last ones. The objective is the log loss on eval after calibration, because the
    loss of the training depends on a hyperparameter, the label smoothing.

    Args:
        fn_args: Files of the train and eval splits of raw examples, their schema, the Transform output, and in
            `custom_config` the fields of `Hyperparameters` and `Search`.

    Returns:
        A tuner that goes on with an earlier search if all but its budget is the same.

    Raises:
        SchemaError: The schema defines no contract.
    """
    base = Hyperparameters.model_validate(fn_args.custom_config[HYPERPARAMETERS_KEY])
    search = Search.model_validate(fn_args.custom_config[SEARCH_KEY])
    with tf.io.gfile.GFile(fn_args.schema_path) as file:
        contract = parse_contract(file.read(), fn_args.schema_path)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    train = read_examples(fn_args.train_files, transform)
    if search.max_images:
        train = train.take(search.max_images)
    tuner = TrialTuner(base, search, contract, project_name=_search_id(fn_args, base, search))
    return TunerFnResult(tuner, {"train": train, "evaluation": read_examples(fn_args.eval_files, transform)})


def _search_id(fn_args: FnArgs, base: Hyperparameters, search: Search) -> str:
    """Returns the same name for searches whose trials can be compared."""
    data = (fn_args.train_files, fn_args.eval_files, fn_args.transform_graph_path)
    identity = [*data, base.model_dump(), search.model_dump(include={"max_images", "fixed", "code"})]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def search_space(base: Hyperparameters, fixed: Collection[str] = ()) -> keras_tuner.HyperParameters:
    """Returns the search space without what is fixed, and with the values of `base` as defaults."""
    space = keras_tuner.HyperParameters()
    for name, limits in SEARCH_SPACE.items():
        is_fixed = _AUGMENTATION_LIMITS.keys() <= set(fixed) if name == AUGMENTATION else name in fixed
        if not is_fixed:
            add = space.Int if isinstance(limits["min_value"], int) else space.Float
            add(name, **limits, default=getattr(base, name, 1.0))
    return space


def trial_hyperparameters(
    values: Mapping[str, float], base: Hyperparameters, fixed: Collection[str] = ()
) -> Hyperparameters:
    """Returns the hyperparameters of a trial.

    Args:
        values: A point of the search space; three digits of each number count.
        base: All other values.
        fixed: Names of the hyperparameters that keep the value of `base`.
    """
    rounded = {name: value if isinstance(value, int) else float(f"{value:.3g}") for name, value in values.items()}
    strength = rounded.pop(AUGMENTATION, 1.0)
    augmentation = {
        name: min(limit, float(f"{strength * getattr(base, name):.3g}"))
        for name, limit in _AUGMENTATION_LIMITS.items()
        if name not in fixed
    }
    return Hyperparameters.model_validate({**base.model_dump(), **augmentation, **rounded})


class _Oracle(keras_tuner.oracles.BayesianOptimizationOracle):
    """Starts with the defaults, and ends the search if another trial would probably take too long."""

    def __init__(self, base: Hyperparameters, search: Search) -> None:
        super().__init__(
            objective=keras_tuner.Objective(_LOSS, "min"),
            max_trials=search.max_trials,
            num_initial_points=_NUM_RANDOM_TRIALS,
            # KerasTuner replaces 0 with a random seed.
            seed=base.seed + 1,
            hyperparameters=search_space(base, search.fixed),
            # Where training diverges is a result, too.
            max_consecutive_failed_trials=search.max_trials + 1,
        )
        self._max_seconds = search.max_seconds or math.inf

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if not self.trials:
            return {"status": "RUNNING", "values": {each.name: each.default for each in self.hyperparameters.space}}
        seconds = [trial.metrics.get_best_value(_SECONDS) for trial in completed_trials(self)]
        if seconds and sum(seconds) + np.mean(seconds) > self._max_seconds:
            return {"status": "STOPPED"}
        return super().populate_space(trial_id)


class TrialTuner(keras_tuner.Tuner):
    """Trains a model in each trial, without exporting it, and measures it on eval."""

    def __init__(self, base: Hyperparameters, search: Search, contract: Contract, project_name: str) -> None:
        """Loads the trials of the project in the folder of the search, if there are any."""
        self._base = base
        self._search = search
        self._contract = contract
        super().__init__(_Oracle(base, search), directory=search.folder, project_name=project_name)

    def run_trial(self, trial: Trial, train: tf.data.Dataset, evaluation: tf.data.Dataset) -> dict[str, float]:
        """Trains and measures a model; KerasTuner calls this.

        Args:
            trial: The trial, with a point of the search space.
            train: Dataset of (image, label), from `read_examples`.
            evaluation: Dataset of the same kind.

        Returns:
            What was measured, by name.

        Raises:
            FailedTrialError: Training diverged; the search goes on.
            FatalRuntimeError: Another error, which ends the search.
        """
        hyperparameters = trial_hyperparameters(trial.hyperparameters.values, self._base, self._search.fixed)
        started = time.monotonic()
        try:
            # Keras keeps what earlier models have created.
            keras.utils.clear_session()
            model = train_model(
                train, evaluation, self._contract, hyperparameters, Path(self.get_trial_dir(trial.trial_id))
            )
            logits, labels = predict_logits(model, evaluation)
        except Exception as error:
            # KerasTuner would go on with the next trial, and never repeat this one.
            raise FatalRuntimeError(f"{type(error).__name__}: {error}") from error
        if not np.isfinite(logits).all():
            logger.info("trial %s: training diverged", trial.trial_id)
            raise FailedTrialError(f"Training diverged with {hyperparameters}.")
        loss = log_loss(logits / fit_temperature(logits, labels), labels)
        accuracy = float((logits.argmax(axis=-1) == labels).mean())
        seconds = time.monotonic() - started
        logger.info(
            "trial %s: eval loss %.4f, accuracy %.2f %% (%.0f s)", trial.trial_id, loss, 100 * accuracy, seconds
        )
        return {_LOSS: loss, _ACCURACY: accuracy, _SECONDS: seconds, _PARAMETERS: model.count_params()}

    def records(self) -> list[dict[str, Any]]:
        """Returns the completed trials, best first: what was measured, and the hyperparameters."""
        return [
            {
                "trial": int(trial.trial_id),
                **{name: trial.metrics.get_best_value(name) for name in (_LOSS, _ACCURACY, _SECONDS)},
                _PARAMETERS: int(trial.metrics.get_best_value(_PARAMETERS)),
                **trial_hyperparameters(trial.hyperparameters.values, self._base, self._search.fixed).model_dump(
                    include=_TUNED
                ),
                AUGMENTATION: trial.hyperparameters.values.get(AUGMENTATION, 1.0),
            }
            for trial in completed_trials(self.oracle)
        ]


def completed_trials(oracle: keras_tuner.Oracle) -> list[Trial]:
    """Returns the trials that have a result, best first."""
    return [trial for trial in oracle.get_best_trials(len(oracle.trials)) if trial.status == "COMPLETED"]


class NoTrialError(ExpectedError):
    """No trial of a search has a result."""


class Executor(TfxExecutor):
    """Executor of Tuner."""

    def Do(  # noqa: N802 (the name is TFX's)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Searches, and writes the best hyperparameters and the trials; TFX calls this.

        Raises:
            NoTrialError: Training diverged in every trial.
        """
        tuner = search_trials(input_dict, exec_properties, self._get_tmp_dir(), print_tuning_summary=False)
        trials = tuner.records()
        if not trials:
            raise NoTrialError("training diverged in every trial; lower trainer.learning_rate.")
        write_best_hyperparameters(tuner, output_dict)
        folder = artifact_utils.get_single_uri(output_dict[TUNER_RESULTS_KEY])
        Path(folder, TRIALS_FILE).write_text(json.dumps(trials, indent=2), encoding="utf-8")


class Tuner(TfxTuner):
    """TFX's Tuner with the executor above."""

    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
