"""The search for hyperparameters; most tests replace the training, which test_training.py tests."""

import itertools
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.executor import Executor as TfxExecutor
from tfx.types import standard_artifacts

from components.trainer import tuning
from components.trainer.hyperparameters import Hyperparameters, Search
from components.trainer.trials import trial_executor
from components.trainer.tuning import (
    AUGMENTATION,
    SEARCH_SPACE,
    TRIALS_FILE,
    Tuner,
    search_space,
    trial_hyperparameters,
    tuner_fn,
)
from registry.errors import ExpectedError
from tests.support.examples import DIGITS, make_examples, png, serialize

BASE = Hyperparameters(epochs=1, batch_size=20)
LIMITS = [(limits["min_value"], limits["max_value"]) for limits in SEARCH_SPACE.values()]

RunSearch = Callable[..., tuning.TrialTuner]


@pytest.mark.parametrize(
    "base", [BASE, Hyperparameters(rotation=180, zoom=0.99, shear=0.99, shift=20), Hyperparameters(rotation=0, zoom=0)]
)
def test_every_corner_of_the_search_space_is_valid(base: Hyperparameters) -> None:
    for corner in itertools.product(*LIMITS):
        found = trial_hyperparameters(dict(zip(SEARCH_SPACE, corner, strict=True)), base)
        assert [getattr(found, name) for name in SEARCH_SPACE if name != AUGMENTATION] == list(corner[:-1])
        assert (found.rotation == 0) == (base.rotation * corner[-1] == 0)


def test_a_trial_changes_only_what_is_searched() -> None:
    values = {"learning_rate": 0.0123456, "width": 96, AUGMENTATION: 0.5}
    changed = {"learning_rate": 0.0123, "width": 96, "rotation": 5.0, "zoom": 0.075, "shear": 0.1, "shift": 0.75}
    assert trial_hyperparameters(values, BASE) == BASE.model_copy(update=changed)
    without_zoom = {name: value for name, value in changed.items() if name != "zoom"}
    assert trial_hyperparameters(values, BASE, fixed=["zoom"]) == BASE.model_copy(update=without_zoom)


def test_the_search_starts_with_the_defaults_of_what_is_not_fixed() -> None:
    names = [each.name for each in search_space(BASE).space]
    assert names == list(SEARCH_SPACE)
    space = search_space(Hyperparameters(learning_rate=0.015, width=32), fixed=["depth", "rotation"])
    assert [each.name for each in space.space] == [name for name in names if name != "depth"]
    assert (space.values["learning_rate"], space.values["width"], space.values[AUGMENTATION]) == (0.015, 32, 1.0)
    space = search_space(BASE, fixed=["rotation", "zoom", "shear", "shift"])
    assert AUGMENTATION not in [each.name for each in space.space]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Digits that can be learned: class k has bright rows of pixels from height 2k + 4. Test cannot be read."""
    records = []
    for number in range(60):
        image = np.random.default_rng(number).integers(0, 20, (28, 28), dtype=np.uint8)
        image[2 * (number % 10) + 4 : 2 * (number % 10) + 6] += 180
        records.append(serialize(image=png(image), label=str(number % 10).encode()))
    splits = {"train": [records[:40]], "eval": [records[40:]], "test": [[b"not an example"]]}
    return make_examples(tmp_path_factory.mktemp("data") / "examples", DIGITS, splits)


@pytest.fixture(scope="module")
def data(transform: tft.TFTransformOutput, examples: Any) -> dict[str, Any]:
    """Fields of FnArgs."""
    return {
        "train_files": [f"{examples.uri}/Split-train/*"],
        "eval_files": [f"{examples.uri}/Split-eval/*"],
        "schema_path": f"{examples.uri}/schema.pbtxt",
        "transform_graph_path": transform._transform_output_dir,
    }


class Training:
    """Replaces `train_model`: returns networks whose logits depend only on the number of the training."""

    def __init__(self) -> None:
        self.calls: list[Hyperparameters] = []
        self.num_images: list[int] = []
        self.errors: dict[int, BaseException] = {}
        self.diverged: set[int] = set()

    def __call__(self, train: Any, evaluation: Any, contract: Any, hyperparameters: Hyperparameters, *_: Any) -> Any:
        number = len(self.calls)
        self.calls.append(hyperparameters)
        self.num_images.append(len(train))
        if number in self.errors:
            raise self.errors[number]
        # Later networks know more digits.
        known = np.where(np.arange(10) < 4 + number, np.nan if number in self.diverged else 1.0, 0.0)
        image = keras.Input((28, 28, 1))
        rows = keras.ops.mean(image, axis=(2, 3))[:, 4:24]
        return keras.Model(image, keras.ops.mean(keras.ops.reshape(rows, (-1, 10, 2)), axis=2) * known)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    training = Training()
    monkeypatch.setattr("components.trainer.trials.train_model", training)
    seconds = itertools.count(step=10)
    monkeypatch.setattr("components.trainer.trials.time.monotonic", lambda: float(next(seconds)))
    return training


@pytest.fixture
def run_search(data: dict[str, Any], tmp_path: Path) -> RunSearch:
    """Runs a search with fields of `Search`, as the Tuner component does."""

    def run(base: Hyperparameters = BASE, folder: str = "tuning", **search: Any) -> tuning.TrialTuner:
        values = Search(folder=str(tmp_path / folder), **search).model_dump(mode="json")
        config = {"hyperparameters": base.model_dump(), "search": values}
        tuner, arguments = tuner_fn(FnArgs(**data, custom_config=config))
        tuner.search(**arguments)
        return tuner

    return run


@pytest.mark.slow
def test_trials_train_and_are_measured_on_eval(run_search: RunSearch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="components.trainer.tuning")
    first, second = run_search(max_trials=2).records()
    assert {first["trial"], second["trial"]} == {0, 1}
    assert 0 < first["eval_loss"] <= second["eval_loss"]
    assert all(0 <= trial["eval_accuracy"] <= 1 and trial["seconds"] > 0 for trial in (first, second))
    default = first if first["trial"] == 0 else second
    assert default["parameters"] == 171_882
    tuned = {"learning_rate", "weight_decay", "label_smoothing", "width", "depth", "rotation", "zoom", "shear", "shift"}
    assert {name: default[name] for name in tuned} == BASE.model_dump(include=tuned)
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        f"trial {trial['trial']}: eval loss {trial['eval_loss']:.4f}, accuracy {100 * trial['eval_accuracy']:.2f} %"
        for trial in sorted((first, second), key=lambda trial: trial["trial"])
    ]


def test_the_best_trial_comes_first(run_search: RunSearch, training: Training) -> None:
    training.diverged = {1}
    trials = run_search(max_trials=4).records()
    losses = [trial["eval_loss"] for trial in trials]
    assert losses == sorted(losses)
    assert [trial["trial"] for trial in trials] == [3, 2, 0], "training diverged in trial 1"
    assert training.calls[0] == BASE
    assert len({str(call) for call in training.calls}) == 4
    for trial in trials:
        assert trial["width"] == training.calls[trial["trial"]].width
        assert trial["rotation"] == training.calls[trial["trial"]].rotation


def test_the_same_seed_gives_the_same_trials(run_search: RunSearch, training: Training) -> None:
    run_search(max_trials=3)
    run_search(max_trials=3, folder="other")
    assert training.calls[:3] == training.calls[3:]


def test_a_search_continues_where_it_was_stopped(run_search: RunSearch, training: Training) -> None:
    training.errors = {2: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        run_search(max_trials=4)
    assert len(run_search(max_trials=4).records()) == 4
    assert training.calls[2] == training.calls[3], "the stopped trial runs again"
    assert len(training.calls) == 5
    assert len(run_search(max_trials=5).records()) == 5
    assert len(training.calls) == 6, "a larger budget adds a trial"


def test_an_error_ends_the_search_and_its_trial_runs_again(run_search: RunSearch, training: Training) -> None:
    training.errors = {1: OSError("disk full")}
    with pytest.raises(ExpectedError, match="^OSError: disk full$"):
        run_search(max_trials=3)
    assert len(run_search(max_trials=3).records()) == 3
    assert training.calls[1] == training.calls[2]


@pytest.mark.parametrize(("max_seconds", "num_trials"), [(5.0, 1), (19.0, 1), (20.0, 2), (39.0, 3)])
def test_the_search_ends_before_a_trial_that_would_not_fit(
    run_search: RunSearch, training: Training, max_seconds: float, num_trials: int
) -> None:
    assert len(run_search(max_trials=9, max_seconds=max_seconds).records()) == num_trials
    run_search(max_trials=9, max_seconds=max_seconds)
    assert len(training.calls) == num_trials


@pytest.fixture
def two_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of a parallel search run in this process, but only end when as many as allowed have started."""
    monkeypatch.setattr("components.trainer.tuning.trial_executor", lambda parallel: trial_executor(1))


@pytest.mark.usefixtures("two_at_a_time")
@pytest.mark.parametrize(("max_seconds", "num_trials"), [(9.0, 2), (14.9, 2), (15.0, 3), (20.0, 4)])
def test_trials_at_the_same_time_count_once(
    run_search: RunSearch, training: Training, max_seconds: float, num_trials: int
) -> None:
    assert len(run_search(max_trials=9, max_seconds=max_seconds, parallel=2).records()) == num_trials


@pytest.mark.usefixtures("two_at_a_time")
def test_a_parallel_search_stops_at_its_number_of_trials_and_continues(
    run_search: RunSearch, training: Training
) -> None:
    training.errors = {3: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        run_search(max_trials=9, parallel=2)
    stopped = training.calls[2:4]
    assert len(run_search(max_trials=9, parallel=3).records()) == 9
    assert len(training.calls) == 11
    assert sorted(map(str, training.calls[4:6])) == sorted(map(str, stopped)), "trials that have not ended run again"
    assert len({str(call) for call in training.calls}) == 9


@pytest.mark.parametrize(
    "change", [{"base": Hyperparameters(epochs=2)}, {"max_images": 30}, {"fixed": ("depth",)}, {"code": "edited"}]
)
def test_trials_that_cannot_be_compared_do_not_count(
    run_search: RunSearch, training: Training, change: dict[str, Any]
) -> None:
    run_search(max_trials=1)
    run_search(max_trials=1, **change)
    assert len(training.calls) == 2
    assert training.num_images == [40, change.get("max_images", 40)]


def artifact(kind: type, folder: Path | str) -> Any:
    instance = kind()
    instance.uri = str(folder)
    return instance


@pytest.fixture
def run_component(transform: tft.TFTransformOutput, examples: Any, tmp_path: Path) -> Callable[..., list[Path]]:
    """Runs the Tuner component, and returns the folders of its outputs."""
    schema = tmp_path / "schema"
    schema.mkdir()
    shutil.copy(Path(examples.uri, "schema.pbtxt"), schema)

    def run(**search: Any) -> list[Path]:
        outputs = {
            "best_hyperparameters": artifact(standard_artifacts.HyperParameters, tmp_path / "best"),
            "tuner_results": artifact(standard_artifacts.TunerResults, tmp_path / "results"),
        }
        inputs = {
            "examples": examples,
            "schema": artifact(standard_artifacts.Schema, schema),
            "transform_graph": artifact(standard_artifacts.TransformGraph, transform._transform_output_dir),
        }
        values = Search(folder=str(tmp_path / "tuning"), **search).model_dump(mode="json")
        properties = {
            "tuner_fn": "components.trainer.tuning.tuner_fn",
            "train_args": '{"splits": ["train"]}',
            "eval_args": '{"splits": ["eval"]}',
            "custom_config": json.dumps({"hyperparameters": BASE.model_dump(), "search": values}),
        }
        for output in outputs.values():
            Path(output.uri).mkdir()
        executor = Tuner.EXECUTOR_SPEC.executor_class(TfxExecutor.Context(tmp_dir=str(tmp_path), unique_id="1"))
        executor.Do(
            {key: [each] for key, each in inputs.items()}, {key: [each] for key, each in outputs.items()}, properties
        )
        return [Path(output.uri) for output in outputs.values()]

    return run


def test_the_component_writes_the_best_hyperparameters_and_all_trials(
    run_component: Callable[..., list[Path]], training: Training
) -> None:
    best, results = run_component(max_trials=3)
    trials = json.loads((results / TRIALS_FILE).read_text())
    assert [trial["trial"] for trial in trials] == [2, 1, 0]
    values = json.loads((best / "best_hyperparameters.txt").read_text())["values"]
    assert values["width"] == trials[0]["width"] == training.calls[2].width
    of_tfx = json.loads((results / "tuner_results.json").read_text())
    assert [trial["score"] for trial in of_tfx] == [trial["eval_loss"] for trial in trials]


def test_a_search_without_a_result_is_an_error(run_component: Callable[..., list[Path]], training: Training) -> None:
    training.diverged = {0, 1, 2, 3}
    with pytest.raises(ExpectedError, match=r"training diverged in every trial; lower trainer\.learning_rate"):
        run_component(max_trials=4)
