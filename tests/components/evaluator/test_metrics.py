"""The metrics in TFMA, on synthetic probabilities."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.evaluator.bounds import Key, Kind, Measurement, measurements
from components.evaluator.intervals import (
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

Measure = Callable[..., dict[Key, Measurement]]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Evaluates probabilities float[n,3] of a model and, optionally, of a baseline."""

    def measure(metric: str, labels: list[int], *probabilities: object, config: str = "") -> dict[Key, Measurement]:
        names = ("candidate", "baseline")[: len(probabilities)]
        frame = pd.DataFrame({"label": labels})
        for name, values in zip(names, probabilities, strict=True):
            frame[name] = list(np.asarray(values, float))
        specs = [
            tfma.ModelSpec(name=name, label_key="label", prediction_key=name, is_baseline=name == "baseline")
            for name in names
        ]
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
    measured = measure("PrecisionAndRecall", [0, 1, 1, 1, 0], answers, config='{"num_classes": 3}')
    for metric in ("precision", "recall"):
        for digit, hits, size in ((0, 1, 2), (1, 2, 3)):
            check(measured[Key(metric, digit=digit)], hits / size, share_interval(hits, size))
            assert measured[Key(metric, digit=digit)].num_images == size
        check(measured[Key(metric, digit=2)], math.nan, (math.nan, math.nan))
    assert {key.kind for key in measured} == {"candidate"}


def test_changes_of_precision_and_recall_are_paired(measure: Measure) -> None:
    labels = [0, 0, 0, 0, 1, 1, 2]
    candidate, baseline = np.eye(3)[[0, 0, 0, 1, 1, 0, 2]], np.eye(3)[[0, 0, 1, 1, 1, 1, 2]]
    measured = measure("PrecisionAndRecall", labels, candidate, baseline, config='{"num_classes": 3}')
    check(measured[Key("recall", digit=0, kind="baseline")], 2 / 4, share_interval(2, 4))
    check(measured[Key("recall", digit=0, kind="change")], 1 / 4, paired_interval(1, 0, 4))
    # Of class 0, the candidate alone predicts one wrong and one right image; both predict two right images.
    counts = np.array([[1, 1], [0, 0], [0, 2]])
    check(measured[Key("precision", digit=0, kind="change")], 3 / 4 - 1, precision_change_interval(counts))


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


def test_paired_errors_count_images_that_only_one_model_classifies_correctly(measure: Measure) -> None:
    one_hot = np.eye(3)
    labels = [0, 0, 0, 1, 1, 2]
    candidate, baseline = one_hot[[0, 0, 1, 0, 1, 1]], one_hot[[1, 0, 0, 1, 1, 0]]
    measured = measure("PairedErrors", labels, candidate, baseline)
    counts = {key.metric: each.value for key, each in measured.items() if key.metric in ("gained", "lost")}
    assert counts == {"gained": 1, "lost": 2}


def test_without_a_baseline_there_are_no_paired_errors(measure: Measure) -> None:
    assert measure("PairedErrors", [0, 1], np.eye(3)[[0, 1]]) == {}
