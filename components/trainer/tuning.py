"""The Tuner component and its `tuner_fn`: a search for hyperparameters on train and eval."""

import hashlib
import itertools
import json
import logging
import math
from collections.abc import Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import Tuner as TfxTuner
from tfx.components.tuner.component import TunerFnResult
from tfx.components.tuner.executor import Executor as TfxExecutor
from tfx.components.tuner.executor import search as search_trials
from tfx.components.tuner.executor import write_best_hyperparameters
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import Artifact, artifact_utils
from tfx.types.standard_component_specs import TUNER_RESULTS_KEY

from components.trainer.hyperparameters import HYPERPARAMETERS_KEY, SEARCH_KEY, Hyperparameters, Search
from components.trainer.trials import (
    ACCURACY,
    LOSS,
    PARAMETERS,
    SECONDS,
    TrialData,
    default_parallel,
    run_trial,
    trial_executor,
)
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
    """
    base = Hyperparameters.model_validate(fn_args.custom_config[HYPERPARAMETERS_KEY])
    search = Search.model_validate(fn_args.custom_config[SEARCH_KEY])
    data = TrialData(
        train_files=tuple(fn_args.train_files),
        eval_files=tuple(fn_args.eval_files),
        schema_path=fn_args.schema_path,
        transform_graph_path=fn_args.transform_graph_path,
        max_images=search.max_images,
    )
    return TunerFnResult(TrialTuner(base, search, project_name=_search_id(fn_args, base, search)), {"data": data})


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

    def __init__(self, base: Hyperparameters, search: Search, parallel: int) -> None:
        super().__init__(
            objective=keras_tuner.Objective(LOSS, "min"),
            max_trials=search.max_trials,
            num_initial_points=_NUM_RANDOM_TRIALS,
            # KerasTuner replaces 0 with a random seed.
            seed=base.seed + 1,
            hyperparameters=search_space(base, search.fixed),
            # Where training diverges is a result, too.
            max_consecutive_failed_trials=search.max_trials + 1,
        )
        self._max_seconds = search.max_seconds or math.inf
        self._parallel = parallel

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if not self.trials:
            return {
                "status": TrialStatus.RUNNING,
                "values": {each.name: each.default for each in self.hyperparameters.space},
            }
        seconds = [trial.metrics.get_best_value(SECONDS) for trial in completed_trials(self)]
        num_open = len(self.ongoing_trials) + 1
        if seconds and (sum(seconds) + num_open * np.mean(seconds)) / self._parallel > self._max_seconds:
            return {"status": TrialStatus.STOPPED}
        return super().populate_space(trial_id)


class TrialTuner(BaseTuner):
    """Runs trials, several at a time if the machine has the cores."""

    def __init__(self, base: Hyperparameters, search: Search, project_name: str) -> None:
        """Loads the trials of the project in the folder of the search, if there are any."""
        self._base = base
        self._search = search
        self._parallel = search.parallel or default_parallel()
        super().__init__(_Oracle(base, search, self._parallel), directory=search.folder, project_name=project_name)

    def search(self, data: TrialData) -> None:
        """Runs trials until the budget is spent; the Tuner component calls this.

        After an error, the next search repeats the trials that have not ended.

        Raises:
            ExpectedError: A trial failed; training that diverges is a result.
        """
        running: dict[Future[dict[str, float] | None], Trial] = {}
        tuner_ids = map("tuner{}".format, itertools.count())
        is_open = True
        with trial_executor(self._parallel) as executor:
            while is_open or running:
                while is_open and len(running) < self._parallel:
                    trial = self.oracle.create_trial(next(tuner_ids))
                    if is_open := trial.status != TrialStatus.STOPPED:
                        running[executor.submit(run_trial, data, *self._arguments(trial))] = trial
                if len(running) > 1:
                    logger.debug("%d trials are running", len(running))
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self._end(running.pop(future), future.result())

    def _arguments(self, trial: Trial) -> tuple[Hyperparameters, Path]:
        hyperparameters = trial_hyperparameters(trial.hyperparameters.values, self._base, self._search.fixed)
        return hyperparameters, Path(self.get_trial_dir(trial.trial_id))

    def _end(self, trial: Trial, measured: Mapping[str, float] | None) -> None:
        if measured is None:
            logger.info("trial %s: training diverged", trial.trial_id)
            trial.status = TrialStatus.FAILED
        else:
            loss, accuracy, seconds = (measured[name] for name in (LOSS, ACCURACY, SECONDS))
            logger.info(
                "trial %s: eval loss %.4f, accuracy %.2f %% (%.0f s)", trial.trial_id, loss, 100 * accuracy, seconds
            )
            self.oracle.update_trial(trial.trial_id, measured)
            trial.status = TrialStatus.COMPLETED
        self.on_trial_end(trial)

    def records(self) -> list[dict[str, Any]]:
        """Returns the completed trials, best first: what was measured, and the hyperparameters."""
        return [
            {
                "trial": int(trial.trial_id),
                **{name: trial.metrics.get_best_value(name) for name in (LOSS, ACCURACY, SECONDS)},
                PARAMETERS: int(trial.metrics.get_best_value(PARAMETERS)),
                **trial_hyperparameters(trial.hyperparameters.values, self._base, self._search.fixed).model_dump(
                    include=_TUNED
                ),
                AUGMENTATION: trial.hyperparameters.values.get(AUGMENTATION, 1.0),
            }
            for trial in completed_trials(self.oracle)
        ]


def completed_trials(oracle: keras_tuner.Oracle) -> list[Trial]:
    """Returns the trials that have a result, best first."""
    return [trial for trial in oracle.get_best_trials(len(oracle.trials)) if trial.status == TrialStatus.COMPLETED]


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
