"""The gate: which metrics decide on a model, on which slices, within which bounds, and how its decision is read."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto.config_pb2 import PerSliceMetricThreshold
from tensorflow_model_analysis.proto.validation_result_pb2 import ValidationResult

from components.features import LABEL_KEY
from components.trainer.signatures import EXAMPLES_SIGNATURE, PROBABILITIES_KEY
from pipeline.settings import EvaluationSettings

ACCURACY = "accuracy"


def eval_config(settings: EvaluationSettings) -> tfma.EvalConfig:
    """Builds TFMA's configuration of the gate.

    Accuracy is gated on the whole test split and on each digit, each against a bound of its own and, where there is a
    baseline, against the baseline's value. Without a baseline, TFX ignores the change thresholds.
    """
    overall, per_digit = tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[LABEL_KEY])
    accuracy = tfma.MetricConfig(
        class_name="SparseCategoricalAccuracy",
        config=json.dumps({"name": ACCURACY}),
        # A threshold of the metric itself would apply to every slice.
        per_slice_thresholds=[
            _threshold(overall, settings.min_accuracy, settings.max_accuracy_drop),
            _threshold(per_digit, settings.min_digit_accuracy, settings.max_digit_drop),
        ],
    )
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(signature_name=EXAMPLES_SIGNATURE, label_key=LABEL_KEY, prediction_key=PROBABILITIES_KEY)
        ],
        slicing_specs=[overall, per_digit],
        metrics_specs=[tfma.MetricsSpec(metrics=[accuracy])],
    )


@dataclass(frozen=True)
class Refusal:
    """One bound that a model did not keep."""

    metric: str
    slice_name: str
    value: float
    lower_bound: float

    def __str__(self) -> str:
        return f"{self.metric} on {self.slice_name} is {self.value:.4f}, at least {self.lower_bound:.4f} is allowed"


@dataclass(frozen=True)
class Evaluation:
    """What the Evaluator found.

    Attributes:
        blessed: Whether the model may be pushed.
        accuracy: On all of test, 0 to 1.
        digit_accuracy: On each digit that is in test.
        refusals: The bounds that were not kept.
    """

    blessed: bool
    accuracy: float
    digit_accuracy: Mapping[int, float]
    refusals: tuple[Refusal, ...]


def read_evaluation(uri: str) -> Evaluation:
    """Reads the output of an Evaluator.

    Args:
        uri: Folder of a ModelEvaluation artifact.

    Returns:
        Its decision, and what it stands on.
    """
    validation = tfma.load_validation_result(uri)
    metrics = tfma.load_eval_result(uri).get_metrics_for_all_slices()
    accuracies = {slice_key: metric[ACCURACY]["doubleValue"] for slice_key, metric in metrics.items()}
    return Evaluation(
        blessed=validation.validation_ok,
        accuracy=accuracies.pop(()),
        digit_accuracy={digit: accuracy for ((_, digit),), accuracy in sorted(accuracies.items())},
        refusals=tuple(refusals(validation)),
    )


def refusals(result: ValidationResult) -> Iterator[Refusal]:
    """Yields each bound that TFMA found not to be kept."""
    for validation in result.metric_validations_per_slice:
        keys = validation.slice_key.single_slice_keys
        slice_name = f"digit {keys[0].int64_value}" if keys else "all of test"
        for failure in validation.failures:
            value, threshold = failure.metric_value.double_value.value, failure.metric_threshold
            if failure.metric_key.is_diff:
                bound = threshold.change_threshold.absolute.value
                yield Refusal(f"change of {failure.metric_key.name} against the baseline", slice_name, value, bound)
            else:
                yield Refusal(failure.metric_key.name, slice_name, value, threshold.value_threshold.lower_bound.value)


def _threshold(slicing_spec: tfma.SlicingSpec, lower_bound: float, max_drop: float) -> PerSliceMetricThreshold:
    return PerSliceMetricThreshold(
        slicing_specs=[slicing_spec],
        threshold=tfma.MetricThreshold(
            value_threshold=tfma.GenericValueThreshold(lower_bound={"value": lower_bound}),
            change_threshold=tfma.GenericChangeThreshold(
                direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -max_drop}
            ),
        ),
    )
