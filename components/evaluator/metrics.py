"""Metrics that the gate needs and TFMA lacks, as classes that TFMA loads by name."""

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.metrics.metric_types import MetricComputation, MetricKey, StandardMetricInputs
from tensorflow_model_analysis.metrics.multi_class_confusion_matrix_metrics import (
    MatrixEntryKey,
    multi_class_confusion_matrices,
)
from tensorflow_model_analysis.utils import model_util

from components.evaluator.bounds import EXPECTED_CALIBRATION_ERROR, GAINED, LOST, PRECISION, RECALL

_NUM_BINS = 15


class ExpectedCalibrationError(tfma.metrics.Metric):
    """Mean distance of confidence and accuracy over 15 bins of equal width.

    TFMA's calibration metrics apply to a single class; this one applies to the most probable class, as in Guo et al.
    2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
    """

    def __init__(self, name: str = EXPECTED_CALIBRATION_ERROR) -> None:
        """Sets the name of the value."""
        super().__init__(metric_util.merge_per_key_computations(_calibration_computations), name=name)


class PrecisionAndRecall(tfma.metrics.Metric):
    """Precision and recall of each class from TFMA's multi-class confusion matrix.

    TFMA's own Precision and Recall binarize each class: with ten classes they take ten times as long as the rest of the
    evaluation, and they ignore a prediction with a probability below one half.
    """

    def __init__(self, num_classes: int, name: str = "precision_and_recall") -> None:
        """Sets the number of classes, and a name, which TFMA requires; the values have their own names."""
        super().__init__(
            metric_util.merge_per_key_computations(_precision_and_recall_computations),
            name=name,
            num_classes=num_classes,
        )


class PairedErrors(tfma.metrics.Metric):
    """Counts `gained` and `lost` images, which only the candidate or only the baseline classifies correctly.

    They are the input of McNemar's test (McNemar 1947, Psychometrika 12). Without a baseline there are no values.
    """

    def __init__(self, name: str = "paired_errors") -> None:
        """Sets a name, which TFMA requires; the values have their own names."""
        super().__init__(_paired_computations, name=name)


def _calibration_computations(
    name: str, eval_config: tfma.EvalConfig, model_name: str = "", output_name: str = "", **_: Any
) -> list[MetricComputation]:
    keys = [MetricKey(name=name, model_name=model_name, output_name=output_name)]
    combiner = _CalibrationCombiner(keys, eval_config, [model_name])
    return [MetricComputation(keys=keys, preprocessors=None, combiner=combiner)]


def _precision_and_recall_computations(
    name: str,
    num_classes: int,
    eval_config: tfma.EvalConfig,
    model_name: str = "",
    output_name: str = "",
    **_: Any,
) -> list[MetricComputation]:
    counting = multi_class_confusion_matrices(
        thresholds=[0.0], eval_config=eval_config, model_name=model_name, output_name=output_name
    )
    matrices_key = counting[-1].keys[-1]
    keys = {
        (metric, number): MetricKey(
            name=metric, model_name=model_name, output_name=output_name, sub_key=metric_types.SubKey(class_id=number)
        )
        for metric in (PRECISION, RECALL)
        for number in range(num_classes)
    }

    def result(metrics: dict[MetricKey, Any]) -> dict[MetricKey, float]:
        counts = metrics[matrices_key][0.0]
        matrix = np.array(
            [[counts.get(MatrixEntryKey(i, j), 0.0) for j in range(num_classes)] for i in range(num_classes)]
        )
        with np.errstate(invalid="ignore"):
            # NaN for a class without labels or without predictions.
            shares = {PRECISION: matrix.diagonal() / matrix.sum(axis=0), RECALL: matrix.diagonal() / matrix.sum(axis=1)}
        return {key: float(shares[metric][number]) for (metric, number), key in keys.items()}

    return [*counting, metric_types.DerivedMetricComputation(keys=list(keys.values()), result=result)]


def _paired_computations(
    eval_config: tfma.EvalConfig, model_names: Sequence[str] = ("",), **_: Any
) -> list[MetricComputation]:
    baseline = model_util.get_baseline_model_spec(eval_config)
    if baseline is None:
        return []
    computations = []
    for model_name in set(model_names) - {baseline.name}:
        keys = [MetricKey(name=name, model_name=model_name, is_diff=True) for name in (GAINED, LOST)]
        combiner = _PairedCombiner(keys, eval_config, [model_name, baseline.name])
        computations.append(MetricComputation(keys=keys, preprocessors=None, combiner=combiner))
    return computations


class _SumCombiner(beam.CombineFn):
    """Sums an array over all images."""

    shape: tuple[int, ...]

    def __init__(self, keys: Sequence[MetricKey], eval_config: tfma.EvalConfig, model_names: Sequence[str]) -> None:
        self._keys = keys
        self._eval_config = eval_config
        self._model_names = model_names

    def create_accumulator(self) -> NDArray[np.float64]:
        return np.zeros(self.shape)

    def merge_accumulators(self, accumulators: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.sum(list(accumulators), axis=0)

    def _predictions(self, element: StandardMetricInputs) -> list[tuple[NDArray[np.float64], bool]]:
        """Returns the probabilities of each model, and whether the most probable class is the label."""
        predictions = []
        for model_name in self._model_names:
            label, probabilities, _ = next(
                metric_util.to_label_prediction_example_weight(
                    element, eval_config=self._eval_config, model_name=model_name, flatten=False
                )
            )
            predictions.append((probabilities, bool(probabilities.argmax() == label.item())))
        return predictions


class _CalibrationCombiner(_SumCombiner):
    """Sums the number of images, their confidence, and the correct predictions, by bin of confidence."""

    shape = (3, _NUM_BINS)

    def add_input(self, accumulator: NDArray[np.float64], element: StandardMetricInputs) -> NDArray[np.float64]:
        [(probabilities, is_right)] = self._predictions(element)
        confidence = float(probabilities.max())
        # A confidence of 1 belongs to the last bin.
        accumulator[:, min(int(confidence * _NUM_BINS), _NUM_BINS - 1)] += (1, confidence, is_right)
        return accumulator

    def extract_output(self, accumulator: NDArray[np.float64]) -> dict[MetricKey, float]:
        num_images, confidence, right = accumulator
        return {self._keys[0]: float(np.abs(confidence - right).sum() / num_images.sum())}


class _PairedCombiner(_SumCombiner):
    """Counts the images that only the first or only the second model classifies correctly."""

    shape = (2,)

    def add_input(self, accumulator: NDArray[np.float64], element: StandardMetricInputs) -> NDArray[np.float64]:
        (_, candidate_right), (_, baseline_right) = self._predictions(element)
        accumulator += (candidate_right and not baseline_right, baseline_right and not candidate_right)
        return accumulator

    def extract_output(self, accumulator: NDArray[np.float64]) -> dict[MetricKey, float]:
        return dict(zip(self._keys, map(float, accumulator), strict=True))
