import pytest

from benchmarks.against_tfx_example import (
    ACCURACY,
    MEMORY,
    REST,
    SERVING_ACCURACY,
    TOTAL,
    WRONG,
    Figures,
    medians,
    run_figures,
    table_rows,
)
from benchmarks.processes import FinishedProcess


def test_figures_of_a_run_use_common_step_names() -> None:
    process = FinishedProcess(seconds=90.0, peak_bytes=3 * 2**30, stdout="")
    steps = {"ImportExampleGen": 10.0, "ImportSchemaGen": 0.0, "Trainer.mnist": 50.0}
    figures = run_figures(steps, process, 0.95, None)
    rest = {REST: 30.0, TOTAL: 90.0, MEMORY: 3.0, ACCURACY: 95.0, WRONG: 500}
    assert figures == {"ExampleGen (s)": 10.0, "SchemaGen (s)": 0.0, "Trainer (s)": 50.0, **rest}
    assert run_figures({"MnistExampleGen": 1.0}, process, 0.95, 0.94)[SERVING_ACCURACY] == 94.0


def test_medians_skip_repetitions_without_the_figure() -> None:
    assert medians([{"a": 3.0}, {"a": 1.0}, {"a": 20.0, "b": 7.0}]) == {"a": 3.0, "b": 7.0}


@pytest.mark.parametrize(
    ("example", "ours", "row"),
    [
        ({TOTAL: 1500.0}, {TOTAL: 1000.0}, (TOTAL, "1,500.0", "1,000.0", "1.50")),
        ({MEMORY: 3.0}, {MEMORY: 2.4}, (MEMORY, "3.00", "2.40", "1.25")),
        ({WRONG: 505.0}, {WRONG: 50.0}, (WRONG, "505", "50", "10.10")),
        ({ACCURACY: 94.95}, {ACCURACY: 99.5}, (ACCURACY, "94.95", "99.50", "-")),
        ({}, {SERVING_ACCURACY: 99.49}, (SERVING_ACCURACY, "-", "99.49", "-")),
        ({"Pusher (s)": 1.0}, {"Pusher (s)": 0.0}, ("Pusher (s)", "1.0", "0.0", "-")),
    ],
)
def test_rows_compare_both(example: Figures, ours: Figures, row: tuple[str, ...]) -> None:
    assert table_rows(example, ours) == [row]
