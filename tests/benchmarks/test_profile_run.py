import math

from benchmarks.data_steps import StepCosts
from benchmarks.processes import FinishedProcess, Sample
from benchmarks.profile_run import REST, START, TOTAL, Period, run_costs, table_rows


def test_samples_are_divided_among_the_steps() -> None:
    # One core from second 102 to second 106; memory peaks at 104.
    memory = (10, 20, 30, 40, 90, 50, 60, 70, 80)
    samples = [Sample(100.0 + number, min(max(number - 2, 0), 4), size) for number, size in enumerate(memory)]
    process = FinishedProcess(seconds=8, peak_bytes=90, stdout="", samples=samples)
    periods = [Period("Transform", 101.0, 2.5), Period("DataGate", 103.5, 0.2), Period("Trainer", 105.0, 2.0)]
    written = {"Transform": 300.0, "DataGate": 1.0, "Trainer": 200.0, TOTAL: 700.0}
    costs = run_costs(process, periods, written)
    assert {name: costs[name] for name in (START, "Transform", "Trainer", TOTAL)} == {
        START: StepCosts(1.0, 0.0, 20, 0),
        # The memory between two samples is interpolated.
        "Transform": StepCosts(2.5, 1.5, 65, 300),
        "Trainer": StepCosts(2.0, 1.0, 70, 200),
        TOTAL: StepCosts(8.0, 4.0, 90, 700),
    }
    gate = costs["DataGate"]
    assert [round(value, 6) for value in (gate.seconds, gate.cpu_seconds, gate.peak_bytes)] == [0.2, 0.2, 75]
    rest = costs[REST]
    assert [round(value, 6) for value in (rest.seconds, rest.cpu_seconds, rest.written_bytes)] == [2.3, 1.3, 199]
    assert list(costs) == [START, "Transform", "DataGate", "Trainer", REST, TOTAL]


def test_a_sample_without_a_child_that_was_ending_costs_nothing() -> None:
    samples = [Sample(0.0, 1.0, 1), Sample(1.0, 5.0, 1), Sample(2.0, 2.0, 1), Sample(3.0, 6.0, 1)]
    process = FinishedProcess(seconds=3, peak_bytes=1, stdout="", samples=samples)
    costs = run_costs(process, [Period("Trainer", 2.0, 1.0)], {"Trainer": 0.0, TOTAL: 0.0})
    assert costs["Trainer"].cpu_seconds == 1.0


def test_table() -> None:
    costs = {"Trainer": StepCosts(10.04, 19.96, 1.5 * 2**30, 2_340_000), REST: StepCosts(1, 1, math.nan, 0)}
    assert table_rows(costs) == [("Trainer", "10.0", "20.0", "1.50", "2.3"), (REST, "1.0", "1.0", "-", "0.0")]
