"""The gates that a model has to pass: which metrics decide, on which slices, within which bounds."""

import json
from typing import Any

import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto.config_pb2 import ConfidenceIntervalOptions, Options

from components.evaluator.bounds import ACCURACY, EXPECTED_CALIBRATION_ERROR, PRECISION, RECALL, Bound
from components.features import LABEL_KEY, NUM_CLASSES
from components.robustness.corruptions import CORRUPTION_KEY, CORRUPTIONS
from pipeline.settings.gates import EvaluationSettings, RobustnessSettings
from registry.signatures import EXAMPLES, PROBABILITIES_OUTPUT

LOG_LOSS = "log_loss"

_OWN_METRICS = "components.evaluator.metrics"


def eval_config() -> tfma.EvalConfig:
    """What Evaluator measures on the test split.

    The intervals of what is no accuracy come from TFMA's jackknife: in one run on 10,000 images, its Poisson bootstrap
    took 154 s where the jackknife took 15.
    """
    return _eval_config(
        [tfma.SlicingSpec()],
        [
            _metric("SparseCategoricalAccuracy", name=ACCURACY),
            _metric("SparseCategoricalCrossentropy", name=LOG_LOSS),
            _own_metric("PrecisionAndRecall", num_classes=NUM_CLASSES),
            _own_metric("ExpectedCalibrationError", name=EXPECTED_CALIBRATION_ERROR),
        ],
        Options(
            compute_confidence_intervals={"value": True},
            confidence_intervals=ConfidenceIntervalOptions(method=ConfidenceIntervalOptions.JACKKNIFE),
        ),
    )


def bounds(settings: EvaluationSettings) -> dict[str, Bound]:
    """Returns the bounds of Evaluator by name; run parameters on Kubeflow address them by these names."""
    per_digit: dict[str, Any] = {
        "extent": "each digit",
        "lower": settings.min_digit_accuracy,
        "max_worsening": settings.max_digit_drop,
    }
    accuracy = Bound(metric=ACCURACY, lower=settings.min_accuracy, max_worsening=settings.max_accuracy_drop)
    log_loss = Bound(metric=LOG_LOSS, upper=settings.max_log_loss, max_worsening=settings.max_log_loss_rise)
    calibration_error = Bound(
        metric=EXPECTED_CALIBRATION_ERROR,
        upper=settings.max_calibration_error,
        max_worsening=settings.max_calibration_error_rise,
    )
    return {
        "accuracy": accuracy,
        "recall": Bound(metric=RECALL, **per_digit),
        "precision": Bound(metric=PRECISION, **per_digit),
        "log_loss": log_loss,
        "calibration_error": calibration_error,
    }


def robustness_eval_config() -> tfma.EvalConfig:
    """What RobustnessEvaluator measures on the corrupted copies of the test split."""
    return _eval_config(
        [tfma.SlicingSpec(feature_keys=[CORRUPTION_KEY])],
        [_metric("SparseCategoricalAccuracy", name=ACCURACY)],
        Options(),
    )


def robustness_bounds(settings: RobustnessSettings) -> dict[str, Bound]:
    """Returns the bounds of RobustnessEvaluator by name; run parameters on Kubeflow address them by these names."""
    corruptions = tuple(CORRUPTIONS)
    return {
        "mean_accuracy": Bound(
            metric=ACCURACY,
            extent="mean of slices",
            slices=corruptions,
            lower=settings.min_mean_accuracy,
            max_worsening=settings.max_mean_drop,
        ),
        "accuracy": Bound(
            metric=ACCURACY,
            extent="each slice",
            slices=corruptions,
            lower=settings.min_accuracy,
            max_worsening=settings.max_drop,
        ),
    }


def _eval_config(
    slicing_specs: list[tfma.SlicingSpec], metrics: list[tfma.MetricConfig], options: Options
) -> tfma.EvalConfig:
    # Intervals of accuracy stand on these counts.
    counts = [_metric("ExampleCount"), _own_metric("PairedErrors")]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name=EXAMPLES, label_key=LABEL_KEY, prediction_key=PROBABILITIES_OUTPUT)],
        slicing_specs=slicing_specs,
        metrics_specs=[tfma.MetricsSpec(metrics=[*metrics, *counts])],
        options=options,
    )


def _metric(class_name: str, **config: Any) -> tfma.MetricConfig:
    return tfma.MetricConfig(class_name=class_name, config=json.dumps(config) if config else "")


def _own_metric(class_name: str, **config: Any) -> tfma.MetricConfig:
    metric = _metric(class_name, **config)
    metric.module = _OWN_METRICS
    return metric
