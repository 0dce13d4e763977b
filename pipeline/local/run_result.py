"""What came of a run: its steps, what the gates decided, and the version that was pushed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.evaluator.measurements import ACCURACY, RECALL
from components.verdict import Verdict

if TYPE_CHECKING:
    from pipeline.local.metadata import Outcome, Run

EVALUATOR = "Evaluator"
"""The gate whose findings are what a model is known by."""

ALL_IMAGES = "all"
"""Its slice of all test images."""


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Attributes:
        run: The run as ML Metadata has it.
        verdicts: What the gates decided, in their order, by the folders in which they wrote it.
        pushed_to: Version directory of the model, if no gate refused it.
        served_version: The version that a server loads now; another one where somebody has rolled back.
    """

    run: "Run"
    verdicts: Mapping[Path, Verdict]
    pushed_to: Path | None
    served_version: int | None

    @property
    def digit_accuracy(self) -> dict[str, float]:
        """The recall of each digit on test, by its name in the verdict; empty if it did not come to that."""
        return _values(self.verdicts.values(), RECALL)


def accuracy_on_test(verdicts: Iterable[Verdict]) -> float | None:
    """Returns the accuracy on test, 0 to 1; None if it did not come to that."""
    return _values(verdicts, ACCURACY).get(ALL_IMAGES)


def outcome_of(run: "Run", verdicts: Iterable[Verdict]) -> "Outcome":
    """Tells what came of a run that has ended well.

    Args:
        run: Its steps, and the version that Pusher pushed in it, or before.
        verdicts: What the gates decided.

    Returns:
        `refused` if a gate did, or if Pusher found that TFX's own InfraValidator did; else `pushed` or `unchanged`.
    """
    if run.version is None or not all(verdict.passed for verdict in verdicts):
        return "refused"
    return "unchanged" if any(step.name == "Pusher" and step.state == "cached" for step in run.steps) else "pushed"


def _values(verdicts: Iterable[Verdict], metric: str) -> dict[str, float]:
    return {
        finding.slice: finding.value
        for verdict in verdicts
        if verdict.gate == EVALUATOR
        for finding in verdict.findings
        if finding.metric == metric and isinstance(finding.value, float)
    }
