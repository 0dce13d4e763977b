"""Metrics with confidence intervals that the gate needs and TFMA lacks, as classes that TFMA loads by name.

Each measures the candidate, the baseline and the change between them, paired on the same images, from sums over all
images. The intervals of TFMA come from random partitions of the images, so they differ from run to run.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma
from google.protobuf.wrappers_pb2 import DoubleValue
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_util
from tensorflow_model_analysis.metrics.metric_types import MetricComputation, MetricKey, StandardMetricInputs, SubKey
from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import BoundedValue
from tensorflow_model_analysis.utils import model_util

from components.evaluator.bounds import (
    ACCURACY,
    EXAMPLE_COUNT,
    EXPECTED_CALIBRATION_ERROR,
    GAINED,
    LOG_LOSS,
    LOST,
    NUM_LABELED,
    NUM_PREDICTED,
    PRECISION,
    RECALL,
    Key,
    Kind,
)
from components.intervals import Interval, mean_interval, paired_interval, precision_change_interval, share_interval

NUM_BINS = 15
"""Bins of the confidence, of equal width."""

_SMALLEST_PROBABILITY = 1e-7
"""As Keras's `epsilon`: a wrong prediction with probability 1 has a finite loss."""

_NO_CLASS = -1
"""Index of a label that is not a class; no prediction equals it."""

Array = NDArray[np.float64]
Results = dict[Key, float | BoundedValue]


class _Combiner(beam.CombineFn):
    """Sums an array over all images. Without a baseline, the candidate takes its place, and its results are dropped.

    An element is one image or a batch of images.
    """

    shape: tuple[int, ...]

    def __init__(
        self, classes: Sequence[str], eval_config: tfma.EvalConfig, candidate: str, baseline: str | None
    ) -> None:
        self._class_ids = {name.encode(): class_id for class_id, name in enumerate(classes)}
        self._eval_config = eval_config
        self._candidate = candidate
        self._baseline = baseline

    def add(self, sums: Array, labels: NDArray[np.int64], probabilities: Array) -> None:
        """Adds images.

        Args:
            sums: The array.
            labels: Indices of the classes, int64[n]; -1 if a label is not a class.
            probabilities: Those of candidate and baseline, float64[2,n,classes].
        """
        raise NotImplementedError

    def results(self, sums: Array) -> Results:
        """Returns the values of the candidate and the baseline, and the changes."""
        raise NotImplementedError

    def create_accumulator(self) -> Array:
        return np.zeros(self.shape)

    def add_input(self, sums: Array, element: StandardMetricInputs) -> Array:
        labels, candidate = self._predictions(element, self._candidate)
        baseline = candidate if self._baseline is None else self._predictions(element, self._baseline)[1]
        self.add(sums, labels, np.array([candidate, baseline], np.float64))
        return sums

    def merge_accumulators(self, accumulators: Iterable[Array]) -> Array:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, sums: Array) -> dict[MetricKey, float | BoundedValue]:
        return {
            MetricKey(
                key.metric,
                (self._baseline if key.kind == "baseline" else self._candidate) or "",
                sub_key=None if key.class_id is None else SubKey(class_id=key.class_id),
                is_diff=key.kind == "change",
            ): value
            for key, value in self.results(sums).items()
            if self._baseline is not None or key.kind == "candidate"
        }

    def _predictions(self, element: StandardMetricInputs, model_name: str) -> tuple[NDArray[np.int64], Array]:
        labels, probabilities, _ = next(
            metric_util.to_label_prediction_example_weight(
                element, eval_config=self._eval_config, model_name=model_name, flatten=False
            )
        )
        class_ids = [self._class_ids.get(label, _NO_CLASS) for label in labels.flat]
        return np.array(class_ids), probabilities.reshape(len(class_ids), -1)


class _AccuracyCombiner(_Combiner):
    """Counts images by whether candidate and baseline are right."""

    shape = (2, 2)

    def add(self, sums: Array, labels: NDArray[np.int64], probabilities: Array) -> None:
        candidate, baseline = (probabilities.argmax(axis=-1) == labels).astype(int)
        np.add.at(sums, (candidate, baseline), 1)

    def results(self, sums: Array) -> Results:
        gained, lost, right_in_both, num_images = map(int, (sums[1, 0], sums[0, 1], sums[1, 1], sums.sum()))
        results: Results = {
            Key(EXAMPLE_COUNT): float(num_images),
            Key(GAINED, kind="change"): float(gained),
            Key(LOST, kind="change"): float(lost),
        }
        right: dict[Kind, int] = {"candidate": gained + right_in_both, "baseline": lost + right_in_both}
        for kind, hits in right.items():
            results[Key(ACCURACY, kind=kind)] = _bounded(hits / num_images, share_interval(hits, num_images))
        change = (gained - lost) / num_images
        results[Key(ACCURACY, kind="change")] = _bounded(change, paired_interval(gained, lost, num_images))
        return results


class _ConfusionCombiner(_Combiner):
    """For each class, counts images by whether candidate and baseline predict it and whether it is the label."""

    def __init__(self, classes: Sequence[str], *models: Any) -> None:
        super().__init__(classes, *models)
        self.shape = (len(classes), 2, 2, 2)

    def add(self, sums: Array, labels: NDArray[np.int64], probabilities: Array) -> None:
        candidate, baseline = probabilities.argmax(axis=-1)
        for class_id, counts in enumerate(sums):
            is_class = ((each == class_id).astype(int) for each in (candidate, baseline, labels))
            np.add.at(counts, tuple(is_class), 1)

    def results(self, sums: Array) -> Results:
        results: Results = {}
        for class_id, counts in enumerate(sums):
            labeled = counts[..., 1].sum()
            predictions: dict[Kind, Array] = {"candidate": counts[1].sum(axis=0), "baseline": counts[:, 1].sum(axis=0)}
            values: dict[tuple[str, Kind], float] = {}
            for kind, (wrong, right) in predictions.items():
                results[Key(NUM_PREDICTED, class_id=class_id, kind=kind)] = float(wrong + right)
                results[Key(NUM_LABELED, class_id=class_id, kind=kind)] = float(labeled)
                for metric, size in ((PRECISION, wrong + right), (RECALL, labeled)):
                    values[metric, kind] = right / size if size else math.nan
                    share = _bounded(values[metric, kind], share_interval(int(right), int(size)))
                    results[Key(metric, class_id=class_id, kind=kind)] = share
            # By which model predicts this class: only the candidate, only the baseline, both.
            wrong_and_right = np.array([counts[1, 0], counts[0, 1], counts[1, 1]])
            gained, lost = wrong_and_right[:2, 1]
            intervals = {
                RECALL: paired_interval(int(gained), int(lost), int(labeled)),
                PRECISION: precision_change_interval(wrong_and_right),
            }
            for metric, interval in intervals.items():
                change = values[metric, "candidate"] - values[metric, "baseline"]
                results[Key(metric, class_id=class_id, kind="change")] = _bounded(change, interval)
        return results


class _LogLossCombiner(_Combiner):
    """Sums the outer products of (1, loss of the candidate, loss of the baseline)."""

    shape = (3, 3)

    def add(self, sums: Array, labels: NDArray[np.int64], probabilities: Array) -> None:
        of_label = np.where(labels == _NO_CLASS, 0, probabilities[:, np.arange(len(labels)), labels])
        numbers = np.array([np.ones(len(labels)), *-np.log(np.clip(of_label, _SMALLEST_PROBABILITY, 1))])
        sums += numbers @ numbers.T

    def results(self, sums: Array) -> Results:
        return _means(LOG_LOSS, sums)


class _CalibrationCombiner(_Combiner):
    """Sums the outer products of (1, gap of the candidate, gap of the baseline), by the bins of their confidence.

    The gap of an image is its confidence minus 1 if the prediction is right, else minus 0.
    """

    shape = (NUM_BINS, NUM_BINS, 3, 3)

    def add(self, sums: Array, labels: NDArray[np.int64], probabilities: Array) -> None:
        confidence = probabilities.max(axis=-1)
        numbers = np.array([np.ones(len(labels)), *(confidence - (probabilities.argmax(axis=-1) == labels))])
        candidate, baseline = calibration_bins(confidence)
        np.add.at(sums, (candidate, baseline), np.einsum("in,jn->nij", numbers, numbers))

    def results(self, sums: Array) -> Results:
        # With the sign of the total gap of its bin, the mean gap is the calibration error.
        signs = np.ones((NUM_BINS, NUM_BINS, 3))
        signs[..., 1] = np.sign(sums[..., 0, 1].sum(axis=1))[:, np.newaxis]
        signs[..., 2] = np.sign(sums[..., 0, 2].sum(axis=0))
        signed = sums * signs[..., np.newaxis] * signs[..., np.newaxis, :]
        return _means(EXPECTED_CALIBRATION_ERROR, signed.sum(axis=(0, 1)))


def calibration_bins(confidence: Array) -> NDArray[np.int64]:
    """Returns the bin of each confidence, 0 to `NUM_BINS` - 1, in an array of the same shape."""
    # A confidence of 1 belongs to the last bin.
    return np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def _means(metric: str, sums: Array) -> Results:
    """Returns means over images from the sums float64[3,3] of the outer products of (1, candidate, baseline)."""
    num_images = int(sums[0, 0])
    results: Results = {}
    weights: dict[Kind, tuple[int, int, int]] = {"candidate": (0, 1, 0), "baseline": (0, 0, 1), "change": (0, 1, -1)}
    for kind, weight in weights.items():
        total, total_of_squares = float(sums[0] @ weight), float(weight @ sums @ weight)
        interval = mean_interval(total, total_of_squares, num_images)
        results[Key(metric, kind=kind)] = _bounded(total / num_images, interval)
    return results


def _bounded(value: float, interval: Interval) -> BoundedValue:
    numbers = zip(("value", "lower_bound", "upper_bound"), (value, *interval), strict=True)
    return BoundedValue(**{name: DoubleValue(value=number) for name, number in numbers})


class _ClassMetric(tfma.metrics.Metric):
    """A metric of models that answer with the probabilities of classes, of which the most probable one counts."""

    combiner: type[_Combiner]

    def __init__(self, classes: Sequence[str], name: str = "") -> None:
        """Sets the names of the classes in the order of the probabilities, and a name, which TFMA requires."""
        super().__init__(self._computations, name=name or type(self).__name__, classes=classes)

    def _computations(
        self, eval_config: tfma.EvalConfig, classes: Sequence[str], model_names: Sequence[str] = ("",), **_: Any
    ) -> list[MetricComputation]:
        """Creates a computation for each candidate; TFMA calls this."""
        spec = model_util.get_baseline_model_spec(eval_config)
        baseline = spec.name if spec else None
        return [
            MetricComputation(keys=[], preprocessors=None, combiner=self.combiner(classes, eval_config, name, baseline))
            for name in set(model_names) - {baseline}
        ]


class Accuracy(_ClassMetric):
    """Accuracy, the number of images, and those `gained` and `lost`.

    Only the candidate or only the baseline classifies these correctly. They are the input of McNemar's test (McNemar
    1947, Psychometrika 12).
    """

    combiner = _AccuracyCombiner


class PrecisionAndRecall(_ClassMetric):
    """Precision and recall of each class, and their numbers of images.

    TFMA's own Precision and Recall ignore a prediction with a probability below one half.
    """

    combiner = _ConfusionCombiner


class LogLoss(_ClassMetric):
    """Mean negative logarithm of the probability of the label, in nats."""

    combiner = _LogLossCombiner


class ExpectedCalibrationError(_ClassMetric):
    """Mean gap between confidence and accuracy over 15 bins of equal width.

    TFMA's calibration metrics apply to a single class; this one applies to the most probable class, as in Guo et al.
    2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
    """

    combiner = _CalibrationCombiner
