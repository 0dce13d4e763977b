import json
from pathlib import Path

from benchmarks.data_steps import STEPS, TOGETHER, StepCosts, medians, parse_costs, table_rows
from benchmarks.processes import FinishedProcess


def test_costs_are_read_and_added(tmp_path: Path) -> None:
    lines = ["a warning", json.dumps({"step": "ImportSchemaGen", "seconds": 9, "cpu_seconds": 9, "peak_bytes": 99})]
    for number, step in enumerate(STEPS, start=1):
        (tmp_path / step / "output").mkdir(parents=True)
        (tmp_path / step / "output" / "file").write_bytes(b"x" * 4 * number)
        lines.append(json.dumps({"step": step, "seconds": number, "cpu_seconds": 2 * number, "peak_bytes": 3 * number}))
    process = FinishedProcess(seconds=30, peak_bytes=10, stdout="\n".join(lines))
    assert parse_costs(process, tmp_path) == {
        "MnistExampleGen": StepCosts(1, 2, 3, 4),
        "StatisticsGen": StepCosts(2, 4, 6, 8),
        "Transform": StepCosts(3, 6, 9, 12),
        TOGETHER: StepCosts(6, 12, 10, 24),
    }


def test_figures_are_compared_by_their_medians() -> None:
    all_costs = ((4, 7, 2**31, 3e6), (3, 6, 2**30, 2e6), (9, 8, 2**32, 9e6))
    before = medians([{"Transform": StepCosts(*costs)} for costs in all_costs])
    rows = table_rows(before, {"Transform": StepCosts(2, 14, 2**30, 1e6)})
    assert rows == [
        ("Transform: wall (s)", "4.00", "2.00", "2.00"),
        ("Transform: CPU (s)", "7.00", "14.00", "0.50"),
        ("Transform: memory (GiB)", "2.00", "1.00", "2.00"),
        ("Transform: written (MB)", "3.00", "1.00", "3.00"),
    ]
