"""From what an export says of itself and how it fared in the fresh process to findings."""

from collections.abc import Iterable

from components.serving_check.contract import SIGNATURES, breach
from components.serving_check.exchange import Report
from components.serving_check.export import Export
from components.verdict import Finding

EXPORT = "export"
"""Slice of the findings that are about no signature."""


def judge_contract(export: Export) -> list[Finding]:
    """Compares the signatures with the contract, one finding for each that there must be."""
    breaches = {name: breach(expected, export.signatures.get(name)) for name, expected in SIGNATURES.items()}
    return [Finding("signature", name, passed=not reason, reason=reason) for name, reason in breaches.items()]


def kept(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Returns the slices of the findings that passed."""
    return tuple(finding.slice for finding in findings if finding.passed)


def judge_process(report: Report, num_ops: int) -> list[Finding]:
    """Judges the ops, the loading and the end of the fresh process, as far as it came.

    Args:
        report: What it reported.
        num_ops: How many ops the export needs.
    """
    findings = []
    if report.foreign_ops is not None:
        findings.append(_judge_ops(report.foreign_ops, num_ops))
    loaders = {"session-based loader": report.load_error, "Python loader": report.python_load_error}
    findings += [_judge_loading(loader, error) for loader, error in loaders.items() if error is not None]
    if report.failure:
        reason = f"{report.failure}; its last work was: {report.doing}"
        findings.append(Finding("fresh process", report.doing_on or EXPORT, passed=False, reason=reason))
    return findings


def _judge_ops(foreign_ops: tuple[str, ...], num_ops: int) -> Finding:
    reason = f"TF Serving does not have {', '.join(foreign_ops)}" if foreign_ops else ""
    return Finding(
        "core ops",
        EXPORT,
        passed=not foreign_ops,
        reason=reason,
        value=f"{num_ops - len(foreign_ops)} of {num_ops}",
        expected="all",
    )


def _judge_loading(loader: str, error: str) -> Finding:
    return Finding(
        loader,
        EXPORT,
        passed=not error,
        reason=error,
        value="refused" if error else "loaded",
        expected="loaded",
    )
