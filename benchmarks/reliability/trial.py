"""The result of trying one kind of fault many times."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from components.verdict import render_table


@dataclass
class Trial:
    """How often a fault was tried, and what went wrong.

    Attributes:
        fault: The fault.
        expected: What must happen each time.
        num_tries: How often it was tried.
        problems: What happened instead, one sentence for each time.
        note: An additional measurement.
    """

    fault: str
    expected: str
    num_tries: int = 0
    problems: list[str] = field(default_factory=list)
    note: str = ""


def render_trials(trials: Iterable[Trial]) -> str:
    """Returns a table with one line for each trial."""
    rows = [(each.fault, str(each.num_tries), each.expected, str(len(each.problems)), each.note) for each in trials]
    return render_table(("fault", "tries", "expected", "failures", "note"), rows)
