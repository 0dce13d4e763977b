"""What a gate decided and why: the one form in which every gate states it, for programs and for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VERDICT_FILE = "verdict.json"
TABLE_FILE = "verdict.txt"

HEADINGS: Mapping[str, str] = {
    "metric": "metric",
    "slice": "slice",
    "feature": "feature",
    "value": "value",
    "interval": "95 % interval",
    "bound": "bound",
    "baseline": "baseline",
    "decision": "decision",
    "reason": "reason",
}
"""Columns of the table of a verdict, and what they are called where a gate has no better name for them."""

_TABLE_WIDTH = 10_000
_SMALL = 0.0001
"""Below it four decimals would say nothing."""


@dataclass(frozen=True)
class Finding:
    """One rule that a gate applied.

    Attributes:
        metric: What was looked at, such as `accuracy`.
        slice: On which part of the data, such as `digit 7`, or in which split.
        passed: Whether it is as it should be.
        reason: Why it did not pass, as a sentence without a full stop; empty where it did.
        value: What was observed.
        interval: Ends of the 95 % confidence interval of `value`, where it has one.
        lower_bound: The least that is allowed, where the rule has such a bound.
        upper_bound: The most that is allowed, where the rule has such a bound.
        expected: What is allowed, in words, where it is no number.
        baseline: The same value of the baseline, where there is one.
        feature: The feature that was looked at, where the gate looks at features.
    """

    metric: str
    slice: str
    passed: bool
    reason: str = ""
    value: float | str | None = None
    interval: tuple[float, float] | None = None
    lower_bound: float | None = None
    upper_bound: float | None = None
    expected: str | None = None
    baseline: float | None = None
    feature: str | None = None

    @property
    def bound(self) -> str:
        """What is allowed, for people."""
        limits = [f"≥ {_number(self.lower_bound)}"] if self.lower_bound is not None else []
        limits += [f"≤ {_number(self.upper_bound)}"] if self.upper_bound is not None else []
        return self.expected or " and ".join(limits)

    def cells(self) -> dict[str, str]:
        """Returns the texts of the columns of `HEADINGS`; empty where there is nothing to say."""
        return {
            "metric": self.metric,
            "slice": self.slice,
            "feature": self.feature or "",
            "value": _number(self.value),
            "interval": " to ".join(map(_number, self.interval)) if self.interval else "",
            "bound": self.bound,
            "baseline": _number(self.baseline),
            "decision": "pass" if self.passed else "REFUSE",
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Verdict:
    """The decision of a gate: it passes if every finding does.

    Attributes:
        gate: Name of the step.
        findings: All rules that it applied, also those that were kept.
        advice: What to do where it refused, as a sentence.
        headings: Columns of its table and their names, in their order.
    """

    gate: str
    findings: tuple[Finding, ...]
    advice: str
    headings: Mapping[str, str] = field(default_factory=lambda: HEADINGS)

    @property
    def passed(self) -> bool:
        """Whether nothing was refused. A gate that looked at nothing has not let anything pass."""
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The rules that were not kept."""
        return tuple(finding for finding in self.findings if not finding.passed)


def write_verdict(verdict: Verdict, directory: str | Path) -> None:
    """Writes a verdict as JSON (`verdict.json`) and as a table (`verdict.txt`).

    Args:
        verdict: What to write.
        directory: A local folder, which must exist.
    """
    content: dict[str, Any] = {"gate": verdict.gate, "passed": verdict.passed, "advice": verdict.advice}
    content["headings"] = dict(verdict.headings)
    content["findings"] = [asdict(finding) for finding in verdict.findings]
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    Path(directory, VERDICT_FILE).write_text(text + "\n", encoding="utf-8")
    decision = "passed" if verdict.passed else "REFUSED"
    table = render_findings(verdict.findings, verdict.headings)
    Path(directory, TABLE_FILE).write_text(f"{verdict.gate}: {decision}\n\n{table}", encoding="utf-8")


def read_verdict(directory: str | Path) -> Verdict:
    """Reads what `write_verdict` wrote.

    Args:
        directory: The folder of a verdict.

    Raises:
        FileNotFoundError: There is no verdict in it.
    """
    content: dict[str, Any] = json.loads(Path(directory, VERDICT_FILE).read_text(encoding="utf-8"))
    findings = [
        Finding(**{**finding, "interval": tuple(finding["interval"]) if finding["interval"] else None})
        for finding in content["findings"]
    ]
    return Verdict(content["gate"], tuple(findings), content["advice"], content["headings"])


def render_findings(findings: Iterable[Finding], headings: Mapping[str, str]) -> str:
    """Returns a table of findings, one line each, without empty columns."""
    rows = [finding.cells() for finding in findings]
    columns = [column for column in headings if any(row[column] for row in rows)]
    return render_table([headings[column] for column in columns], [[row[column] for column in columns] for row in rows])


def render_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns rows of cells below a header as text; no line is wrapped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in header:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=_TABLE_WIDTH, color_system=None, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _number(value: float | str | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if value == int(value):
        return str(int(value))
    return f"{value:.4f}" if abs(value) >= _SMALL else f"{value:.1e}"
