"""Metrics that the gate needs and TFMA does not have, as TFMA's own extension point takes them."""

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.metrics.multi_class_confusion_matrix_metrics import (
    MatrixEntryKey,
    multi_class_confusion_matrices,
)
from tensorflow_model_analysis.utils import model_util

from components.evaluator.measurements import EXPECTED_CALIBRATION_ERROR, GAINED, LOST, PRECISION, RECALL

_NUM_BINS = 15


class ExpectedCalibrationError(tfma.metrics.Metric):
    """How far confidence is from accuracy: their mean distance over 15 bins of confidence of equal width.

    TFMA's calibration metrics are of one class at a time; this one is of the most probable class, as in Guo et al.
    2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
    """

    def __init__(self, name: str = EXPECTED_CALIBRATION_ERROR) -> None:
        """Takes the name under which the value is reported."""
        super().__init__(metric_util.merge_per_key_computations(_calibration_computations), name=name)


class PrecisionAndRecall(tfma.metrics.Metric):
    """Precision and recall of each class, of the most probable class, from TFMA's multi-class confusion matrix.

    TFMA's own Precision and Recall look at each class apart: for ten classes they take ten times as long as all the
    rest of the evaluation, and they count an answer only where it is more probable than all others together.
    """

    def __init__(self, num_classes: int, name: str = "precision_and_recall") -> None:
        """Takes the number of classes, and a name, which TFMA asks for; the values have names of their own."""
        super().__init__(
            metric_util.merge_per_key_computations(_precision_and_recall_computations),
            name=name,
            num_classes=num_classes,
        )


class PairedErrors(tfma.metrics.Metric):
    """Counts the images on which candidate and baseline differ in being right: `gained` and `lost`.

    The two counts are what McNemar's test stands on (McNemar 1947, Psychometrika 12). Nothing is computed where there
    is no baseline.
    """

    def __init__(self, name: str = "paired_errors") -> None:
        """Takes a name, which TFMA asks for; the counts have names of their own."""
        super().__init__(_paired_computations, name=name)


def _calibration_computations(
    name: str, eval_config: tfma.EvalConfig, model_name: str = "", output_name: str = "", **_: Any
) -> list[metric_types.MetricComputation]:
    key = metric_types.MetricKey(name=name, model_name=model_name, output_name=output_name)
    combiner = _CalibrationCombiner(key, eval_config)
    return [metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=combiner)]


def _precision_and_recall_computations(
    name: str,
    num_classes: int,
    eval_config: tfma.EvalConfig,
    model_name: str = "",
    output_name: str = "",
    **_: Any,
) -> list[metric_types.MetricComputation]:
    counting = multi_class_confusion_matrices(
        thresholds=[0.0], eval_config=eval_config, model_name=model_name, output_name=output_name
    )
    matrices_key = counting[-1].keys[-1]
    keys = {
        (metric, number): metric_types.MetricKey(
            name=metric, model_name=model_name, output_name=output_name, sub_key=metric_types.SubKey(class_id=number)
        )
        for metric in (PRECISION, RECALL)
        for number in range(num_classes)
    }

    def result(metrics: dict[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, float]:
        counts = metrics[matrices_key][0.0]
        matrix = np.array(
            [[counts.get(MatrixEntryKey(i, j), 0.0) for j in range(num_classes)] for i in range(num_classes)]
        )
        with np.errstate(invalid="ignore"):
            # Of a class that nobody has drawn, or that was never answered, nothing can be said: not a number.
            shares = {PRECISION: matrix.diagonal() / matrix.sum(axis=0), RECALL: matrix.diagonal() / matrix.sum(axis=1)}
        return {key: float(shares[metric][number]) for (metric, number), key in keys.items()}

    return [*counting, metric_types.DerivedMetricComputation(keys=list(keys.values()), result=result)]


def _paired_computations(
    eval_config: tfma.EvalConfig, model_names: Sequence[str] = ("",), **_: Any
) -> list[metric_types.MetricComputation]:
    baseline = model_util.get_baseline_model_spec(eval_config)
    if baseline is None:
        return []
    computations = []
    for model_name in set(model_names) - {baseline.name}:
        keys = [metric_types.MetricKey(name=name, model_name=model_name, is_diff=True) for name in (GAINED, LOST)]
        combiner = _PairedCombiner(keys, eval_config, model_name, baseline.name)
        computations.append(metric_types.MetricComputation(keys=keys, preprocessors=None, combiner=combiner))
    return computations


class _CalibrationCombiner(beam.CombineFn):
    """Sums, per bin of confidence: images, confidence, and images that are right."""

    def __init__(self, key: metric_types.MetricKey, eval_config: tfma.EvalConfig) -> None:
        self._key = key
        self._eval_config = eval_config

    def create_accumulator(self) -> NDArray[np.float64]:
        return np.zeros((3, _NUM_BINS))

    def add_input(
        self, accumulator: NDArray[np.float64], element: metric_types.StandardMetricInputs
    ) -> NDArray[np.float64]:
        label, probabilities = _label_and_probabilities(element, self._eval_config, self._key.model_name)
        confidence = float(probabilities.max())
        # A confidence of 1 belongs into the last bin.
        bin_number = min(int(confidence * _NUM_BINS), _NUM_BINS - 1)
        accumulator[:, bin_number] += (1, confidence, probabilities.argmax() == label)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator: NDArray[np.float64]) -> dict[metric_types.MetricKey, float]:
        num_images, confidence, right = accumulator
        return {self._key: float(np.abs(confidence - right).sum() / num_images.sum())}


class _PairedCombiner(beam.CombineFn):
    """Counts the images that one model has right and the other wrong."""

    def __init__(
        self,
        keys: list[metric_types.MetricKey],
        eval_config: tfma.EvalConfig,
        candidate_name: str,
        baseline_name: str,
    ) -> None:
        self._keys = keys
        self._eval_config = eval_config
        self._names = (candidate_name, baseline_name)

    def create_accumulator(self) -> NDArray[np.float64]:
        return np.zeros(2)

    def add_input(
        self, accumulator: NDArray[np.float64], element: metric_types.StandardMetricInputs
    ) -> NDArray[np.float64]:
        answers = [_label_and_probabilities(element, self._eval_config, name) for name in self._names]
        candidate_right, baseline_right = (probabilities.argmax() == label for label, probabilities in answers)
        accumulator += (candidate_right and not baseline_right, baseline_right and not candidate_right)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator: NDArray[np.float64]) -> dict[metric_types.MetricKey, float]:
        return dict(zip(self._keys, map(float, accumulator), strict=True))


def _label_and_probabilities(
    element: metric_types.StandardMetricInputs, eval_config: tfma.EvalConfig, model_name: str
) -> tuple[int, NDArray[np.float64]]:
    label, probabilities, _ = next(
        metric_util.to_label_prediction_example_weight(
            element, eval_config=eval_config, model_name=model_name, flatten=False
        )
    )
    return int(label.item()), probabilities
