"""The metrics in TFMA, on synthetic probabilities."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.evaluator.bounds import Key, Measurement, measurements

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


def test_precision_and_recall_are_those_of_the_most_probable_class(measure: Measure) -> None:
    # Even if its probability is below one half.
    answers = np.full((5, 3), 0.3)
    answers[np.arange(5), [0, 0, 1, 1, 1]] = 0.4
    measured = measure("PrecisionAndRecall", [0, 1, 1, 1, 0], answers, config='{"num_classes": 3}')
    shares = {(key.metric, key.digit): each.value for key, each in measured.items()}
    assert shares == pytest.approx(
        {
            ("precision", 0): 1 / 2,
            ("precision", 1): 2 / 3,
            ("precision", 2): float("nan"),
            ("recall", 0): 1 / 2,
            ("recall", 1): 2 / 3,
            ("recall", 2): float("nan"),
        },
        nan_ok=True,
    )


def test_paired_errors_count_images_that_only_one_model_classifies_correctly(measure: Measure) -> None:
    one_hot = np.eye(3)
    labels = [0, 0, 0, 1, 1, 2]
    candidate, baseline = one_hot[[0, 0, 1, 0, 1, 1]], one_hot[[1, 0, 0, 1, 1, 0]]
    measured = measure("PairedErrors", labels, candidate, baseline)
    counts = {key.metric: each.value for key, each in measured.items() if key.metric in ("gained", "lost")}
    assert counts == {"gained": 1, "lost": 2}


def test_without_a_baseline_there_are_no_paired_errors(measure: Measure) -> None:
    assert measure("PairedErrors", [0, 1], np.eye(3)[[0, 1]]) == {}
