import pytest

from benchmarks.against_tfx_example import (
    ACCURACY,
    CALIBRATION,
    DATA_STEPS,
    LOWEST_CORRUPTION,
    MEAN_CORRUPTION,
    MEMORY,
    REST,
    SERVING_ACCURACY,
    TOTAL,
    WRONG,
    Figures,
    medians,
    robustness_figures,
    run_figures,
    seed_rows,
    table_rows,
)
from benchmarks.deformations import DEFORMATIONS
from benchmarks.processes import FinishedProcess
from components.robustness.corruptions import CORRUPTIONS


def test_figures_of_a_run_use_common_step_names() -> None:
    process = FinishedProcess(seconds=90.0, peak_bytes=3 * 2**30, stdout="")
    steps = {"ImportExampleGen": 10.0, "ImportSchemaGen": 0.0, "Transform": 5.0, "Trainer.mnist": 45.0}
    figures = run_figures(steps, process, 0.95, None)
    rest = {REST: 30.0, TOTAL: 90.0, MEMORY: 3.0, ACCURACY: 95.0, WRONG: 500}
    assert figures == {
        "ExampleGen (s)": 10.0,
        "SchemaGen (s)": 0.0,
        "Transform (s)": 5.0,
        "Trainer (s)": 45.0,
        DATA_STEPS: 15.0,
        **rest,
    }
    assert run_figures({"MnistExampleGen": 1.0}, process, 0.95, 0.94)[SERVING_ACCURACY] == 94.0


def test_medians_skip_repetitions_without_the_figure() -> None:
    assert medians([{"a": 3.0}, {"a": 1.0}, {"a": 20.0, "b": 7.0}]) == {"a": 3.0, "b": 7.0}


@pytest.mark.parametrize(
    ("example", "ours", "row"),
    [
        ({TOTAL: 1500.0}, {TOTAL: 1000.0}, (TOTAL, "1,500.0", "1,000.0", "0.67")),
        ({MEMORY: 3.0}, {MEMORY: 2.4}, (MEMORY, "3.00", "2.40", "0.80")),
        ({WRONG: 505.0}, {WRONG: 50.0}, (WRONG, "505", "50", "0.10")),
        ({ACCURACY: 94.95}, {ACCURACY: 99.5}, (ACCURACY, "94.95", "99.50", "-")),
        ({}, {SERVING_ACCURACY: 99.49}, (SERVING_ACCURACY, "-", "99.49", "-")),
        ({"Pusher (s)": 1.0}, {"Pusher (s)": 0.0}, ("Pusher (s)", "1.0", "0.0", "0.00")),
    ],
)
def test_rows_compare_both(example: Figures, ours: Figures, row: tuple[str, ...]) -> None:
    assert table_rows(example, ours) == [row]


def test_figures_of_several_seeds_are_summarized() -> None:
    accuracies = {name: 0.9 + number / 1000 for number, name in enumerate(CORRUPTIONS)}
    figures = robustness_figures(
        {**accuracies, "clean": 0.5, **dict.fromkeys(DEFORMATIONS, 0.8), "calibration_error": 0.001}
    )
    deformed = {f"{name} (%)": 80.0 for name in DEFORMATIONS}
    expected = {MEAN_CORRUPTION: 90.7, LOWEST_CORRUPTION: 90.0, **deformed, CALIBRATION: 0.1}
    assert figures == pytest.approx(expected)
    first, *_, last = seed_rows([{ACCURACY: 99.0, **figures}, {ACCURACY: 99.8, **figures}])
    assert first == (ACCURACY, "99.40", "99.00", "99.80")
    assert last == (CALIBRATION, "0.10", "0.10", "0.10")
