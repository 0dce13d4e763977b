"""The metrics in TFMA, on synthetic probabilities."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.evaluator.bounds import Key, Kind, Measurement, measurements
from components.evaluator.metrics import Accuracy, ExpectedCalibrationError, LogLoss, PrecisionAndRecall
from components.intervals import (
    Interval,
    mean_interval,
    paired_interval,
    precision_change_interval,
    share_interval,
)

# isort: split
import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics.metric_types import StandardMetricInputs

Measure = Callable[..., dict[Key, Measurement]]

CLASSES = ["circle", "Quadrat groß", "triangle"]
NAMES = [name.encode() for name in [*CLASSES, "square"]]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Evaluates probabilities float[n,3] of a model and, optionally, of a baseline; a label of 3 is no class."""

    def measure(metric: str, labels: list[int], *probabilities: object) -> dict[Key, Measurement]:
        names = ("candidate", "baseline")[: len(probabilities)]
        frame = pd.DataFrame({"label": [NAMES[label] for label in labels]})
        for name, values in zip(names, probabilities, strict=True):
            frame[name] = list(np.asarray(values, float))
        specs = [
            tfma.ModelSpec(name=name, label_key="label", prediction_key=name, is_baseline=name == "baseline")
            for name in names
        ]
        config = json.dumps({"classes": CLASSES})
        config_of_metric = tfma.MetricConfig(class_name=metric, module="components.evaluator.metrics", config=config)
        eval_config = tfma.EvalConfig(
            model_specs=specs,
            slicing_specs=[tfma.SlicingSpec()],
            metrics_specs=[tfma.MetricsSpec(metrics=[config_of_metric], model_names=names)],
        )
        tfma.analyze_raw_data(frame, eval_config, output_path=str(tmp_path))
        return measurements(tfma.load_metrics(str(tmp_path)))

    return measure


def test_calibration_error_is_the_distance_of_confidence_and_accuracy(measure: Measure) -> None:
    # Two bins: three of four predictions with 0.8 are right, both with 0.5 are wrong.
    sure, unsure = [0.8, 0.1, 0.1], [0.2, 0.5, 0.3]
    measured = measure("ExpectedCalibrationError", [0, 0, 0, 1, 0, 2], *[[sure] * 4 + [unsure] * 2])
    expected = (4 * abs(0.8 - 0.75) + 2 * abs(0.5 - 0)) / 6
    assert measured[Key("expected_calibration_error")].value == pytest.approx(expected)


def test_a_confidence_of_one_counts(measure: Measure) -> None:
    measured = measure("ExpectedCalibrationError", [0, 1], [[1.0, 0, 0], [1.0, 0, 0]])
    assert measured[Key("expected_calibration_error")].value == pytest.approx(0.5)


def check(measured: Measurement, value: float, interval: Interval) -> None:
    assert measured.value == pytest.approx(value, nan_ok=True)
    assert measured.interval == pytest.approx(interval, nan_ok=True)


def test_precision_and_recall_are_those_of_the_most_probable_class(measure: Measure) -> None:
    # Even if its probability is below one half.
    answers = np.full((5, 3), 0.3)
    answers[np.arange(5), [0, 0, 1, 1, 1]] = 0.4
    measured = measure("PrecisionAndRecall", [0, 1, 1, 1, 0], answers)
    for metric in ("precision", "recall"):
        for class_id, hits, size in ((0, 1, 2), (1, 2, 3)):
            check(measured[Key(metric, class_id=class_id)], hits / size, share_interval(hits, size))
            assert measured[Key(metric, class_id=class_id)].num_images == size
        check(measured[Key(metric, class_id=2)], math.nan, (math.nan, math.nan))
    assert {key.kind for key in measured} == {"candidate"}


def test_changes_of_precision_and_recall_are_paired(measure: Measure) -> None:
    labels = [0, 0, 0, 0, 1, 1, 2]
    candidate, baseline = np.eye(3)[[0, 0, 0, 1, 1, 0, 2]], np.eye(3)[[0, 0, 1, 1, 1, 1, 2]]
    measured = measure("PrecisionAndRecall", labels, candidate, baseline)
    check(measured[Key("recall", class_id=0, kind="baseline")], 2 / 4, share_interval(2, 4))
    check(measured[Key("recall", class_id=0, kind="change")], 1 / 4, paired_interval(1, 0, 4))
    # Of class 0, the candidate alone predicts one wrong and one right image; both predict two right images.
    counts = np.array([[1, 1], [0, 0], [0, 2]])
    check(measured[Key("precision", class_id=0, kind="change")], 3 / 4 - 1, precision_change_interval(counts))


def check_means(measured: dict[Key, Measurement], metric: str, candidate: np.ndarray, baseline: np.ndarray) -> None:
    """Compares a metric with the means of numbers of images, and of their differences."""
    numbers: dict[Kind, np.ndarray] = {"candidate": candidate, "baseline": baseline, "change": candidate - baseline}
    for kind, each in numbers.items():
        interval = mean_interval(each.sum(), (each**2).sum(), len(each))
        check(measured[Key(metric, kind=kind)], each.mean(), interval)


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    """Labels int[n] and probabilities float[2,n,3] of two models that are better than chance."""
    random = np.random.default_rng(2)
    labels = random.integers(0, 3, 200)
    probabilities = random.dirichlet([1, 1, 1], (2, 200)) + 0.5 * np.eye(3)[labels]
    return labels, probabilities / probabilities.sum(axis=-1, keepdims=True)


def test_log_loss_and_its_change_are_means_over_images(
    measure: Measure, predictions: tuple[np.ndarray, np.ndarray]
) -> None:
    labels, models = predictions
    candidate, baseline = -np.log(models[:, np.arange(len(labels)), labels])
    check_means(measure("LogLoss", labels.tolist(), *models), "log_loss", candidate, baseline)


def test_a_certain_mistake_has_a_finite_loss(measure: Measure) -> None:
    measured = measure("LogLoss", [0, 1], [[0, 1, 0], [0, 1, 0]])
    assert measured[Key("log_loss")].value == pytest.approx(-np.log(1e-7) / 2)


def test_calibration_error_and_its_change_are_means_over_images(
    measure: Measure, predictions: tuple[np.ndarray, np.ndarray]
) -> None:
    labels, models = predictions
    signed_gaps = []
    for model in models:
        confidence = model.max(axis=1)
        gaps, bins = confidence - (model.argmax(axis=1) == labels), (confidence * 15).astype(int)
        signed_gaps.append(gaps * [np.sign(gaps[bins == each].sum()) for each in bins])
    measured = measure("ExpectedCalibrationError", labels.tolist(), *models)
    check_means(measured, "expected_calibration_error", *signed_gaps)


def test_accuracy_and_its_change_are_paired(measure: Measure) -> None:
    one_hot = np.eye(3)
    labels = [0, 0, 0, 1, 1, 2]
    candidate, baseline = one_hot[[0, 0, 1, 0, 1, 1]], one_hot[[1, 0, 0, 1, 1, 0]]
    measured = measure("Accuracy", labels, candidate, baseline)
    check(measured[Key("accuracy")], 3 / 6, share_interval(3, 6))
    check(measured[Key("accuracy", kind="baseline")], 4 / 6, share_interval(4, 6))
    check(measured[Key("accuracy", kind="change")], -1 / 6, paired_interval(1, 2, 6))
    assert measured[Key("accuracy", kind="change")].pairs == (1, 2)
    assert {each.num_images for key, each in measured.items() if key.metric == "accuracy"} == {6}


def test_without_a_baseline_there_is_only_the_candidate(measure: Measure) -> None:
    measured = measure("Accuracy", [0, 1], np.eye(3)[[0, 1]])
    assert {(key.metric, key.kind) for key in measured} == {("accuracy", "candidate"), ("example_count", "candidate")}


@pytest.mark.parametrize(
    ("metric", "key", "value"),
    [
        ("Accuracy", Key("accuracy"), 1 / 2),
        ("PrecisionAndRecall", Key("precision", class_id=2), 0 / 1),
        ("PrecisionAndRecall", Key("num_labeled", class_id=2), 0),
        ("LogLoss", Key("log_loss"), -np.log(1e-7) / 2),
        ("ExpectedCalibrationError", Key("expected_calibration_error"), 1 / 2),
    ],
)
def test_a_label_that_is_no_class_counts_as_wrong(measure: Measure, metric: str, key: Key, value: float) -> None:
    measured = measure(metric, [0, 3], np.eye(3)[[0, 2]])
    assert measured[key].value == pytest.approx(value)


@pytest.mark.parametrize("metric", [Accuracy, PrecisionAndRecall, LogLoss, ExpectedCalibrationError])
def test_a_batch_counts_as_its_images(metric: type[tfma.metrics.Metric]) -> None:
    random = np.random.default_rng(0)
    specs = [tfma.ModelSpec(name=name, prediction_key="p", is_baseline=name == "old") for name in ("new", "old")]
    [computation] = metric(CLASSES).computations(tfma.EvalConfig(model_specs=specs), model_names=["new", "old"])
    labels = np.array([NAMES[label] for label in random.integers(0, 4, 200)], object)
    predictions = {name: {"p": random.dirichlet([1, 1, 1], 200)} for name in ("new", "old")}

    def sums(*batches: slice) -> np.ndarray:
        total = computation.combiner.create_accumulator()
        for rows in batches:
            of_models = {name: {"p": each["p"][rows]} for name, each in predictions.items()}
            inputs = StandardMetricInputs({tfma.LABELS_KEY: labels[rows], tfma.PREDICTIONS_KEY: of_models})
            total = computation.combiner.add_input(total, inputs)
        return total

    one_by_one = sums(*(slice(row, row + 1) for row in range(200)))
    assert one_by_one.any()
    np.testing.assert_allclose(sums(slice(0, 77), slice(77, 200)), one_by_one)
