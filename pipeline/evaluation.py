"""The gates of the model: metrics, slices and bounds."""

import json
from collections.abc import Sequence
from typing import Any

import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma

from components.evaluator.bounds import ACCURACY, EXPECTED_CALIBRATION_ERROR, LOG_LOSS, PRECISION, RECALL, Bound
from components.features import CORRUPTION_KEY, LABEL_KEY
from components.robustness.corruptions import CORRUPTIONS
from pipeline.settings.gates import EvaluationSettings, RobustnessSettings
from pipeline.settings.section import Section
from registry.signatures import EXAMPLES, PROBABILITIES_OUTPUT

_METRICS_MODULE = "components.evaluator.metrics"


def eval_config(classes: Sequence[str]) -> tfma.EvalConfig:
    """Returns the metrics of Evaluator on the test split, for classes in the order of the probabilities."""
    return _eval_config(
        tfma.SlicingSpec(), classes, "Accuracy", "LogLoss", "PrecisionAndRecall", "ExpectedCalibrationError"
    )


def bounds(settings: EvaluationSettings) -> dict[str, Bound]:
    """Returns the bounds of Evaluator by name; Kubeflow's run parameters use these names."""

    def bound(metric: str, limit: str, worsening: str, **others: Any) -> Bound:
        return _bound("evaluation", settings, metric, limit, worsening, **others)

    def new_data(limit: str) -> dict[str, Any]:
        return {"max_new_data_drop": getattr(settings, limit), "new_data_setting": f"evaluation.{limit}"}

    return {
        "accuracy": bound(ACCURACY, "min_accuracy", "max_accuracy_drop", **new_data("max_new_data_drop")),
        "recall": bound(
            RECALL, "min_class_accuracy", "max_class_drop", extent="each class", **new_data("max_new_data_class_drop")
        ),
        "precision": bound(PRECISION, "min_class_accuracy", "max_class_drop", extent="each class"),
        "log_loss": bound(LOG_LOSS, "max_log_loss", "max_log_loss_rise"),
        "calibration_error": bound(EXPECTED_CALIBRATION_ERROR, "max_calibration_error", "max_calibration_error_rise"),
    }


def robustness_eval_config(classes: Sequence[str]) -> tfma.EvalConfig:
    """Returns the metrics of RobustnessEvaluator on the corrupted copies of the test split, for classes likewise."""
    return _eval_config(tfma.SlicingSpec(feature_keys=[CORRUPTION_KEY]), classes, "Accuracy")


def robustness_bounds(settings: RobustnessSettings) -> dict[str, Bound]:
    """Returns the bounds of RobustnessEvaluator by name; Kubeflow's run parameters use these names."""

    def bound(limit: str, worsening: str, extent: str) -> Bound:
        slices = tuple(CORRUPTIONS)
        return _bound("robustness", settings, ACCURACY, limit, worsening, extent=extent, slices=slices)

    return {
        "mean_accuracy": bound("min_mean_accuracy", "max_mean_drop", "mean of slices"),
        "accuracy": bound("min_accuracy", "max_drop", "each slice"),
    }


def _bound(section: str, settings: Section, metric: str, limit: str, worsening: str, **others: Any) -> Bound:
    values = {"lower" if limit.startswith("min_") else "upper": getattr(settings, limit)}
    return Bound(
        metric=metric,
        **values,
        max_worsening=getattr(settings, worsening),
        setting=f"{section}.{limit}",
        worsening_setting=f"{section}.{worsening}",
        **others,
    )


def _eval_config(slicing_spec: tfma.SlicingSpec, classes: Sequence[str], *metrics: str) -> tfma.EvalConfig:
    config = json.dumps({"classes": list(classes)})
    metric_configs = [tfma.MetricConfig(module=_METRICS_MODULE, class_name=metric, config=config) for metric in metrics]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name=EXAMPLES, label_key=LABEL_KEY, prediction_key=PROBABILITIES_OUTPUT)],
        slicing_specs=[slicing_spec],
        metrics_specs=[tfma.MetricsSpec(metrics=metric_configs)],
    )
