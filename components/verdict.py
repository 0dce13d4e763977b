"""The decision of a gate and its reasons, in one format for all gates: JSON and a human-readable table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from registry.errors import ExpectedError

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
    "setting": "setting",
}
"""Columns of the table of a verdict and their default headings."""

_MAX_NAMES = 3
"""Slices and features that a combined finding names."""
_TABLE_WIDTH = 10_000
_SMALL = 0.0001
"""Smaller numbers are shown in scientific notation."""


class DamagedVerdictError(ExpectedError):
    """A verdict is missing or damaged; the message names the file and what to do."""


@dataclass(frozen=True)
class Finding:
    """The result of one rule of a gate.

    Attributes:
        metric: The metric or rule, such as `accuracy`.
        slice: The slice or split, such as `class 7`.
        reason: Why the rule is not met, without a full stop.
        interval: Ends of the 95 % confidence interval of `value`.
        expected: The requirement in words, if it is not a number.
        setting: Full name of the setting with the requirement, such as `evaluation.min_accuracy`.
        accepted: Whether the rule passes only because a person has accepted what breaks it; `reason` says what.
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
    setting: str | None = None
    accepted: bool = False

    @property
    def bound(self) -> str:
        """The requirement as text."""
        limits = [f"≥ {format_number(self.lower_bound)}"] if self.lower_bound is not None else []
        limits += [f"≤ {format_number(self.upper_bound)}"] if self.upper_bound is not None else []
        return self.expected or " and ".join(limits)

    def cells(self) -> dict[str, str]:
        """Returns the text of each column of `HEADINGS`."""
        return {
            "metric": self.metric,
            "slice": self.slice,
            "feature": self.feature or "",
            "value": format_number(self.value),
            "interval": " to ".join(map(format_number, self.interval)) if self.interval else "",
            "bound": self.bound,
            "baseline": format_number(self.baseline),
            "decision": "accepted" if self.accepted else "pass" if self.passed else "REFUSE",
            "reason": self.reason,
            "setting": self.setting or "",
        }


@dataclass(frozen=True)
class Verdict:
    """The decision of a gate: the results of all its rules, and advice for the case of a refusal.

    Attributes:
        headings: Columns of the table and their headings, in order.
        enforced: Whether refusals count; if not, the gate is switched off and always passes.
    """

    gate: str
    findings: tuple[Finding, ...]
    advice: str
    headings: Mapping[str, str] = field(default_factory=lambda: HEADINGS)
    enforced: bool = True

    @property
    def passed(self) -> bool:
        """Whether every rule is met, or the gate is switched off; a gate without findings does not pass."""
        return not self.enforced or (bool(self.findings) and not self.refusals)

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The rules that are not met; slices and features that break a rule for one reason are combined."""
        return _grouped(finding for finding in self.findings if not finding.passed)

    @property
    def accepted(self) -> tuple[str, ...]:
        """What a person has accepted, so that the gate does not refuse it: slices and reason, combined likewise."""
        found = _grouped(finding for finding in self.findings if finding.accepted)
        return tuple(f"{finding.slice}: {finding.reason}" for finding in found)


def write_verdict(verdict: Verdict, directory: str | Path) -> None:
    """Writes a verdict as JSON (`verdict.json`) and as a table (`verdict.txt`) into an existing local folder."""
    content: dict[str, Any] = {"gate": verdict.gate, "passed": verdict.passed, "enforced": verdict.enforced}
    content["advice"] = verdict.advice
    content["headings"] = dict(verdict.headings)
    content["findings"] = [asdict(finding) for finding in verdict.findings]
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    Path(directory, VERDICT_FILE).write_text(text + "\n", encoding="utf-8")
    decision = "passed" if verdict.passed else "REFUSED"
    if not verdict.enforced:
        decision = "switched off"
    table = render_findings(verdict.findings, verdict.headings)
    Path(directory, TABLE_FILE).write_text(f"{verdict.gate}: {decision}\n\n{table}", encoding="utf-8")


def read_verdict(directory: str | Path) -> Verdict:
    """Reads the JSON that `write_verdict` wrote into a folder.

    Raises:
        DamagedVerdictError: The folder holds no verdict, or a damaged one.
    """
    file = Path(directory, VERDICT_FILE)
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        findings = [
            Finding(**{**finding, "interval": tuple(finding["interval"]) if finding["interval"] else None})
            for finding in content["findings"]
        ]
        # Verdicts of earlier releases have no such value.
        enforced = content.get("enforced", True)
        return Verdict(content["gate"], tuple(findings), content["advice"], content["headings"], enforced)
    # Damaged JSON may have any structure.
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedVerdictError(
            f"{file}: missing, or not a verdict ({type(error).__name__}: {error}); run again, with enable_cache=false "
            "if its gate comes from the cache."
        ) from error


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


def _grouped(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.metric, finding.bound, finding.reason), []).append(finding)
    return tuple(map(_combine, groups.values()))


def _combine(findings: Sequence[Finding]) -> Finding:
    """Returns the finding with the worst value for all slices and features."""
    sign = -1 if findings[0].lower_bound is None else 1
    worst = min(findings, key=lambda each: sign * each.value if isinstance(each.value, int | float) else 0)
    slices = _names([finding.slice for finding in findings], worst.slice)
    features = [finding.feature for finding in findings if finding.feature]
    return replace(worst, slice=slices, feature=_names(features, worst.feature or "") or None)


def _names(names: Sequence[str], worst: str) -> str:
    different = list(dict.fromkeys(names))
    return ", ".join(different) if len(different) <= _MAX_NAMES else f"{worst} and {len(different) - 1} more"


def format_number(value: float | str | None) -> str:
    """Returns a value as tables show it; None is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if float(value).is_integer():
        return str(int(value))
    return f"{value:.4f}" if abs(value) >= _SMALL else f"{value:.1e}"
