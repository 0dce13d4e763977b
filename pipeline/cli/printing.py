"""What the `digits` command prints as JSON or as tables."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.local.metadata import Run
    from pipeline.local.run_result import RunResult


_UNBOUNDED_WIDTH = 10_000


def run_values(run: "Run") -> dict[str, Any]:
    """Returns what JSON says of a run."""
    return {**vars(run), "started": run.started.isoformat(), "steps": [vars(step) for step in run.steps]}


def result_values(result: "RunResult") -> dict[str, Any]:
    """Returns what JSON says of a run that has just ended."""
    return {
        **run_values(result.run),
        "digit_accuracy": result.digit_accuracy,
        "verdicts": {
            verdict.gate: {"passed": verdict.passed, "directory": str(directory)}
            for directory, verdict in result.verdicts.items()
        },
        "refusals": [
            {"gate": verdict.gate, **asdict(finding), "bound": finding.bound}
            for verdict in result.verdicts.values()
            for finding in verdict.refusals
        ],
        "model": str(result.pushed_to) if result.pushed_to else None,
        "served_version": result.served_version,
    }


def percent(share: float | None) -> str:
    """Returns a share of 0 to 1 for people, or nothing for None."""
    return "" if share is None else f"{100 * share:.2f} %"


def print_json(value: Any) -> None:
    """Prints a value as JSON."""
    click.echo(json.dumps(value, indent=2))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows of texts under a header."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    # A narrow terminal wraps lines; rich would cut the figures.
    unbounded = console.options.update(width=_UNBOUNDED_WIDTH)
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)
