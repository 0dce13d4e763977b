"""The gates of the model: metrics, slices and bounds."""

import json
from typing import Any

import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma

from components.evaluator.bounds import ACCURACY, EXPECTED_CALIBRATION_ERROR, LOG_LOSS, PRECISION, RECALL, Bound
from components.features import LABEL_KEY, NUM_CLASSES
from components.robustness.corruptions import CORRUPTION_KEY, CORRUPTIONS
from pipeline.settings.gates import EvaluationSettings, RobustnessSettings
from registry.signatures import EXAMPLES, PROBABILITIES_OUTPUT

_OWN_METRICS = "components.evaluator.metrics"


def eval_config() -> tfma.EvalConfig:
    """Returns the metrics of Evaluator on the test split."""
    return _eval_config(
        tfma.SlicingSpec(),
        _own_metric("LogLoss"),
        _own_metric("PrecisionAndRecall", num_classes=NUM_CLASSES),
        _own_metric("ExpectedCalibrationError"),
    )


def bounds(settings: EvaluationSettings) -> dict[str, Bound]:
    """Returns the bounds of Evaluator by name; Kubeflow's run parameters use these names."""
    digit: dict[str, Any] = {
        "extent": "each digit",
        "lower": settings.min_digit_accuracy,
        "max_worsening": settings.max_digit_drop,
    }
    return {
        "accuracy": Bound(metric=ACCURACY, lower=settings.min_accuracy, max_worsening=settings.max_accuracy_drop),
        "recall": Bound(metric=RECALL, **digit),
        "precision": Bound(metric=PRECISION, **digit),
        "log_loss": Bound(metric=LOG_LOSS, upper=settings.max_log_loss, max_worsening=settings.max_log_loss_rise),
        "calibration_error": Bound(
            metric=EXPECTED_CALIBRATION_ERROR,
            upper=settings.max_calibration_error,
            max_worsening=settings.max_calibration_error_rise,
        ),
    }


def robustness_eval_config() -> tfma.EvalConfig:
    """Returns the metrics of RobustnessEvaluator on the corrupted copies of the test split."""
    return _eval_config(tfma.SlicingSpec(feature_keys=[CORRUPTION_KEY]))


def robustness_bounds(settings: RobustnessSettings) -> dict[str, Bound]:
    """Returns the bounds of RobustnessEvaluator by name; Kubeflow's run parameters use these names."""
    accuracy: dict[str, Any] = {"metric": ACCURACY, "slices": tuple(CORRUPTIONS)}
    return {
        "mean_accuracy": Bound(
            extent="mean of slices", lower=settings.min_mean_accuracy, max_worsening=settings.max_mean_drop, **accuracy
        ),
        "accuracy": Bound(
            extent="each slice", lower=settings.min_accuracy, max_worsening=settings.max_drop, **accuracy
        ),
    }


def _eval_config(slicing_spec: tfma.SlicingSpec, *metrics: tfma.MetricConfig) -> tfma.EvalConfig:
    common = [
        tfma.MetricConfig(class_name="SparseCategoricalAccuracy", config=json.dumps({"name": ACCURACY})),
        # The confidence intervals of accuracy need these counts.
        tfma.MetricConfig(class_name="ExampleCount"),
        _own_metric("PairedErrors"),
    ]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name=EXAMPLES, label_key=LABEL_KEY, prediction_key=PROBABILITIES_OUTPUT)],
        slicing_specs=[slicing_spec],
        metrics_specs=[tfma.MetricsSpec(metrics=[*common, *metrics])],
    )


def _own_metric(class_name: str, **config: Any) -> tfma.MetricConfig:
    return tfma.MetricConfig(module=_OWN_METRICS, class_name=class_name, config=json.dumps(config) if config else "")
