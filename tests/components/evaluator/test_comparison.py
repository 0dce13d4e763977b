"""Comparison of two small tables of predictions."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components.evaluator.comparison import PairedAccuracy, compare_predictions, paired_accuracy
from components.evaluator.prediction_files import SCHEMA
from components.intervals import paired_interval

# Image, label, prediction, corruption.
Row = tuple[int, str, str, str | None]


def predictions(*rows: Row) -> pa.Table:
    columns = ("image_id", "label", "prediction", "corruption")
    values: Iterable[dict[str, Any]] = (dict(zip(columns, row, strict=True), confidence=0.9) for row in rows)
    return pa.Table.from_pylist(list(values), SCHEMA)


def test_the_change_is_that_of_the_images_that_differ() -> None:
    first, second = np.zeros(200, bool), np.zeros(200, bool)
    first[:190], second[3:197] = True, True
    expected = PairedAccuracy(200, 0.95, 0.97, 0.02, paired_interval(7, 3, 200))
    assert paired_accuracy(first, second) == expected


def test_models_that_do_not_differ_have_an_interval_around_no_change() -> None:
    result = paired_accuracy(np.ones(50, bool), np.ones(50, bool))
    low, high = result.interval
    assert (result.change, low) == (0, -high)
    assert high > 0


def test_images_are_matched_in_any_order() -> None:
    first = predictions((-7, "b", "a", None), (2, "a", "a", None), (3, "a", "a", None))
    second = predictions((3, "a", "a", None), (2, "a", "b", None), (-7, "b", "b", None))
    result = compare_predictions(first, second)
    assert result.overall == PairedAccuracy(3, 2 / 3, 2 / 3, 0, paired_interval(1, 1, 3))
    assert list(result.classes.items()) == [
        ("a", PairedAccuracy(2, 1, 0.5, -0.5, paired_interval(0, 1, 2))),
        ("b", PairedAccuracy(1, 0, 1, 1, paired_interval(1, 0, 1))),
    ]
    assert (result.left_out, result.corruptions) == ((0, 0), {})


@pytest.mark.parametrize(
    ("only_first", "only_second", "left_out"),
    [
        ([(2, "a", "a", None)], [], (1, 0)),
        ([(2, "a", "a", None)], [(3, "a", "a", None), (4, "a", "a", None)], (1, 2)),
        ([(2, "a", "a", None)], [(2, "b", "a", None)], (1, 1)),  # The label was corrected.
        ([(1, "a", "a", None)], [], (1, 0)),  # A copy of the common image.
    ],
)
def test_images_of_one_model_are_left_out_and_counted(
    only_first: list[Row], only_second: list[Row], left_out: tuple[int, int]
) -> None:
    common: Row = (1, "a", "a", None)
    result = compare_predictions(predictions(common, *only_first), predictions(*only_second, common))
    assert result.overall is not None
    assert (result.overall.images, result.overall.second) == (1, 1)
    assert (result.left_out, result.corrupted_left_out) == (left_out, (0, 0))


def test_a_copy_in_both_counts_twice() -> None:
    rows: list[Row] = [(1, "a", "a", None), (1, "a", "a", None), (2, "a", "a", None)]
    result = compare_predictions(predictions(*rows), predictions(*reversed(rows)))
    assert result.overall is not None
    assert (result.overall.images, result.left_out) == (3, (0, 0))


def test_corruptions_are_apart_from_the_images_and_from_each_other() -> None:
    first = predictions((1, "a", "a", None), (1, "a", "a", "fog"), (2, "b", "b", "zigzag"), (3, "b", "b", "zigzag"))
    second = predictions((1, "a", "b", None), (1, "a", "b", "zigzag"), (2, "b", "a", "zigzag"), (9, "a", "a", "scale"))
    result = compare_predictions(first, second)
    assert result.overall is not None
    assert (result.overall.images, list(result.classes)) == (1, ["a"])
    assert result.corruptions == {"zigzag": PairedAccuracy(1, 1, 0, -1, paired_interval(0, 1, 1))}
    assert (result.left_out, result.corrupted_left_out) == ((0, 0), (2, 2))


@pytest.mark.parametrize("second", [predictions(), predictions((2, "a", "a", None))])
def test_without_common_images_there_is_no_result(second: pa.Table) -> None:
    result = compare_predictions(predictions((1, "a", "a", None)), second)
    assert (result.overall, result.classes, result.corruptions) == (None, {}, {})
    assert result.left_out == (1, second.num_rows)
