import pytest

from benchmarks.comparison import (
    MEMORY,
    REST,
    TOTAL,
    WRONG,
    accuracy_figures,
    common_step_name,
    medians,
    process_figures,
    table_rows,
)


@pytest.mark.parametrize(
    ("name", "common"),
    [
        ("ImportExampleGen", "ExampleGen"),
        ("MnistExampleGen", "ExampleGen"),
        ("ImportSchemaGen", "SchemaGen"),
        ("Trainer.mnist", "Trainer"),
        ("Transform", "Transform"),
    ],
)
def test_steps_of_both_get_one_name(name: str, common: str) -> None:
    assert common_step_name(name) == common


def test_what_no_step_took_is_the_rest() -> None:
    figures = process_figures({"ImportExampleGen": 10.0, "Trainer.mnist": 50.0}, seconds=90.0, peak_bytes=3 * 2**30)
    assert figures == {"ExampleGen (s)": 10.0, "Trainer (s)": 50.0, REST: 30.0, TOTAL: 90.0, MEMORY: 3.0}


def test_accuracy_is_also_counted_in_wrong_images() -> None:
    assert accuracy_figures(0.9495, None)[WRONG] == 505


def test_median_of_several_repetitions_lies_between() -> None:
    assert medians([{"a (s)": 3.0}, {"a (s)": 1.0}, {"a (s)": 20.0}]) == {"a (s)": 3.0}


def test_median_of_an_even_number_is_the_middle() -> None:
    assert medians([{"a (s)": 1.0}, {"a (s)": 4.0}]) == {"a (s)": 2.5}


def test_median_leaves_out_repetitions_without_the_figure() -> None:
    assert medians([{"a (s)": 1.0}, {"a (s)": 3.0, "b (s)": 7.0}]) == {"a (s)": 2.0, "b (s)": 7.0}


def test_ratio_is_how_many_times_ours_goes_into_theirs() -> None:
    assert table_rows({TOTAL: 1500.0}, {TOTAL: 1000.0}) == [(TOTAL, "1,500.0", "1,000.0", "1.50")]


def test_units_decide_the_decimals() -> None:
    example, ours = {**accuracy_figures(0.9495, None), MEMORY: 3.0}, {**accuracy_figures(0.9950, 0.9949), MEMORY: 2.4}
    assert [row[1:] for row in table_rows(example, ours)] == [
        ("94.95", "99.50", "-"),
        ("-", "99.49", "-"),
        ("505", "50", "10.10"),
        ("3.00", "2.40", "1.25"),
    ]


def test_a_figure_of_one_side_has_no_ratio() -> None:
    rows = table_rows({"SchemaGen (s)": 1.0, TOTAL: 4.0}, {"BaselineModel (s)": 2.0, TOTAL: 2.0})
    assert rows == [
        ("BaselineModel (s)", "-", "2.0", "-"),
        (TOTAL, "4.0", "2.0", "2.00"),
        ("SchemaGen (s)", "1.0", "-", "-"),
    ]


def test_nothing_is_divided_by_zero() -> None:
    assert table_rows({"Pusher (s)": 1.0}, {"Pusher (s)": 0.0}) == [("Pusher (s)", "1.0", "0.0", "-")]
