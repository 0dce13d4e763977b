"""Compares the accuracy of two models on the images that both have classified."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.intervals import Interval, paired_interval

_KEYS = ["image_id", "label", "corruption"]
"""Columns that identify an image; one whose label has been corrected is another image."""


@dataclass(frozen=True)
class PairedAccuracy:
    """The accuracy of two models on the same images.

    Attributes:
        images: Number of images, at least 1.
        first: Accuracy of the first model.
        second: Accuracy of the second model.
        change: Accuracy of the second model minus that of the first.
        interval: 95 % confidence interval of the change; see `components.intervals.paired_interval`.
    """

    images: int
    first: float
    second: float
    change: float
    interval: Interval

    @property
    def tendency(self) -> Literal["better", "worse", ""]:
        """How the second model differs, if the interval excludes zero."""
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else ""


@dataclass(frozen=True)
class PredictionComparison:
    """The accuracy of two models on their common images.

    Attributes:
        overall: On images without corruption; None if there are none in common.
        classes: On the same images by class, sorted by name.
        corruptions: On corrupted images by corruption, sorted by name.
        left_out: Numbers of images without corruption that only the first, and only the second model has classified.
        corrupted_left_out: The same for corrupted images.
    """

    overall: PairedAccuracy | None
    classes: Mapping[str, PairedAccuracy]
    corruptions: Mapping[str, PairedAccuracy]
    left_out: tuple[int, int]
    corrupted_left_out: tuple[int, int]


def compare_predictions(first: pa.Table, second: pa.Table) -> PredictionComparison:
    """Compares the predictions of two models on the images that both have classified.

    Args:
        first: Predictions of the first model, from `components.evaluator.prediction_files.read_predictions`.
        second: Predictions of the second model.
    """
    (clean, left_out), (corrupted, corrupted_left_out) = (
        _join(*(table.filter(pc.equal(pc.is_valid(table["corruption"]), is_corrupted)) for table in (first, second)))
        for is_corrupted in (False, True)
    )
    return PredictionComparison(
        overall=paired_accuracy(*_right(clean)) if clean.num_rows else None,
        classes=_by(clean, "label"),
        corruptions=_by(corrupted, "corruption"),
        left_out=left_out,
        corrupted_left_out=corrupted_left_out,
    )


def paired_accuracy(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> PairedAccuracy:
    """Compares two models on the same images.

    Args:
        first: Whether the first model is right about each image, bool[n], at least one.
        second: Whether the second model is.
    """
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    interval = paired_interval(gained, lost, len(first))
    return PairedAccuracy(len(first), float(first.mean()), float(second.mean()), (gained - lost) / len(first), interval)


def _join(first: pa.Table, second: pa.Table) -> tuple[pa.Table, tuple[int, int]]:
    """Returns the images of both tables, with `first` and `second`: whether each model is right. Counts the others."""
    pairs = _counted(first, "first").join(_counted(second, "second"), _KEYS, join_type="inner")
    # Copies of an image have the same prediction.
    copies = pc.min_element_wise(pairs["first_count"], pairs["second_count"])
    rows = np.repeat(np.arange(pairs.num_rows), copies.to_numpy())
    pairs = pairs.select([*_KEYS, "first_min", "second_min"]).rename_columns([*_KEYS, "first", "second"]).take(rows)
    return pairs, (first.num_rows - len(rows), second.num_rows - len(rows))


def _counted(table: pa.Table, name: str) -> pa.Table:
    """Returns each image once, with the number of its copies and whether the prediction is right, 0 or 1."""
    # A join does not match nulls.
    keys = [table["image_id"], table["label"], pc.fill_null(table["corruption"], "")]
    right = pc.cast(pc.equal(table["label"], table["prediction"]), pa.int8())
    return pa.table([*keys, right], [*_KEYS, name]).group_by(_KEYS).aggregate([(name, "min"), (name, "count")])


def _right(pairs: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return pairs["first"].to_numpy().astype(bool), pairs["second"].to_numpy().astype(bool)


def _by(pairs: pa.Table, column: str) -> dict[str, PairedAccuracy]:
    names = sorted(pc.unique(pairs[column]).to_pylist())
    return {name: paired_accuracy(*_right(pairs.filter(pc.equal(pairs[column], name)))) for name in names}
