from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from components.verdict import Finding, Verdict
from pipeline.local.metadata import Run, Step, StepState
from pipeline.local.run_result import RunResult, accuracy_on_test, outcome_of

GOOD = Verdict("Evaluator", (Finding("accuracy", "all", passed=True, value=0.99),), advice="")
BAD = Verdict("ServingCheck", (Finding("core ops", "export", passed=False),), advice="")
ROBUSTNESS = Verdict("RobustnessEvaluator", (Finding("accuracy", "all", passed=True, value=0.5),), advice="")


def make_run(version: int | None, pusher: StepState | None) -> Run:
    steps = (Step("Pusher", pusher, 0.1),) if pusher else ()
    return Run("now", "digits", datetime(2026, 1, 2), 1.0, steps, "unfinished", None, version)


@pytest.mark.parametrize(
    ("version", "pusher", "verdicts", "outcome"),
    [
        pytest.param(17, "ran", [GOOD], "pushed", id="pushed"),
        pytest.param(17, "cached", [GOOD], "unchanged", id="pushed before"),
        pytest.param(None, "ran", [GOOD, BAD], "refused", id="a gate refused"),
        pytest.param(None, "cached", [GOOD, BAD], "refused", id="a gate refused before"),
        pytest.param(None, None, [BAD], "refused", id="it did not come to Pusher"),
        pytest.param(None, "ran", [GOOD], "refused", id="refused without a verdict"),
    ],
)
def test_outcome(version: int | None, pusher: StepState | None, verdicts: list[Verdict], outcome: str) -> None:
    assert outcome_of(make_run(version, pusher), verdicts) == outcome


def test_accuracy_is_that_of_the_gate_on_test() -> None:
    assert accuracy_on_test([ROBUSTNESS, GOOD]) == 0.99
    assert accuracy_on_test([ROBUSTNESS]) is None


def test_digits_are_known_by_their_recall() -> None:
    recalls = tuple(Finding("recall", f"digit {digit}", passed=True, value=digit / 10) for digit in (1, 2))
    evaluation = replace(GOOD, findings=(*GOOD.findings, *recalls))
    result = RunResult(make_run(17, "ran"), {Path("r"): ROBUSTNESS, Path("e"): evaluation}, None, None)
    assert result.digit_accuracy == {"digit 1": 0.1, "digit 2": 0.2}
