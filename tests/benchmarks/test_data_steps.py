import json

from benchmarks.data_steps import STEPS, TOGETHER, StepCosts, medians, parse_costs, table_rows


def test_costs_are_read_and_added() -> None:
    lines = ["a warning", json.dumps({"step": "ImportSchemaGen", "seconds": 9, "cpu_seconds": 9, "peak_bytes": 99})]
    for number, step in enumerate(STEPS, start=1):
        lines.append(json.dumps({"step": step, "seconds": number, "cpu_seconds": 2 * number, "peak_bytes": 3 * number}))
    assert parse_costs(lines) == {
        "MnistExampleGen": StepCosts(1, 2, 3),
        "StatisticsGen": StepCosts(2, 4, 6),
        "Transform": StepCosts(3, 6, 9),
        TOGETHER: StepCosts(6, 12, 9),
    }


def test_figures_are_compared_by_their_medians() -> None:
    before = medians([{"Transform": StepCosts(*costs)} for costs in ((4, 7, 2**31), (3, 6, 2**30), (9, 8, 2**32))])
    rows = table_rows(before, {"Transform": StepCosts(2, 14, 2**30)})
    assert rows == [
        ("Transform: wall (s)", "4.00", "2.00", "2.00"),
        ("Transform: CPU (s)", "7.00", "14.00", "0.50"),
        ("Transform: memory (GiB)", "2.00", "1.00", "2.00"),
    ]
