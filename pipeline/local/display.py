"""Shows the progress and the result of a run on the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from rich.console import Console
from rich.text import Text

from components.verdict import TABLE_FILE, render_findings

if TYPE_CHECKING:
    from pipeline.local.runner import RunResult

StepEnd = Literal["ran", "cached", "failed", "not run"]

_STEP_ENDS: dict[StepEnd, tuple[str, str, str]] = {
    "ran": ("✓", "{:5.1f} s", ""),
    "cached": ("=", "cached", "dim"),
    "failed": ("✗", "{:5.1f} s  failed", "bold red"),
    "not run": ("-", "not run", "dim"),
}
"""Mark, text and style of each line."""

_NAME_WIDTH = 19
_MAX_REFUSALS = 10
"""Per gate, so that the result fits on a screen."""


class RunDisplay:
    """Prints one line per step with its duration, and the progress of the running step."""

    def __init__(self, console: Console) -> None:
        """Prints to `console`, which shows transient texts only if it is a terminal."""
        self._console = console
        self._status = console.status("")
        self._step = ""

    def step_started(self, name: str) -> None:
        """Shows the step as running."""
        self._step = name
        self._status.update(name)
        self._status.start()

    def step_ended(self, name: str, state: StepEnd, seconds: float = 0.0) -> None:
        """Prints a step that has ended, with its duration, or that does not run."""
        self._status.stop()
        mark, text, style = _STEP_ENDS[state]
        self._print(f"{mark} {name:<{_NAME_WIDTH}} {text.format(seconds)}", style)

    def progressed(self, text: str, *, transient: bool) -> None:
        """Prints a progress text, or, if it is `transient`, shows it until the next one."""
        if transient:
            self._status.update(f"{self._step}  {text}")
        else:
            self._print(f"    {text}")

    def stop(self) -> None:
        """Restores the terminal."""
        self._status.stop()

    def show_result(self, result: "RunResult") -> None:
        """Prints the accuracy, the verdicts of the gates with the reasons of refusals, and the model's folder."""
        self._print("")
        accuracy = result.run.test_accuracy
        if accuracy is not None:
            name, lowest = min(result.class_accuracy.items(), key=lambda item: item[1])
            self._print(f"Test accuracy  {100 * accuracy:.2f} % (lowest: {name}, {100 * lowest:.2f} %)")
        if result.run.outcome == "refused":
            self._show_refusals(result)
            return
        unchanged = "; nothing has changed, nothing to do" if result.run.outcome == "unchanged" else ""
        gates = ", ".join(verdict.gate for verdict in result.verdicts.values() if verdict.enforced)
        self._print(f"Gates          passed: {gates or 'none'}{unchanged}", style="green")
        if off := [verdict for verdict in result.verdicts.values() if not verdict.enforced]:
            states = (f"{verdict.gate} (not met: {len(verdict.refusals)})" for verdict in off)
            self._print(f"               switched off: {', '.join(states)}", style="yellow")
        self._print(f"Model          {result.pushed_to}")
        if result.served_version != result.run.version:
            cause = "because of a rollback" if result.rolled_back else "which is newer"
            self._print(
                f"Served         version {result.served_version}, {cause}; "
                f"`digits rollback {result.run.version}` would serve this model again"
            )

    def _show_refusals(self, result: "RunResult") -> None:
        refused = {directory: verdict for directory, verdict in result.verdicts.items() if not verdict.passed}
        # TFX's own InfraValidator writes no verdict.
        gates = ", ".join(verdict.gate for verdict in refused.values()) or "InfraValidator"
        self._print(f"Gates          refused by {gates}; nothing was pushed", style="bold red")
        if not refused:
            self._print("TF Serving could not load the model, or did not respond. See the log for details.")
        for directory, verdict in refused.items():
            self._print(f"\n{verdict.gate}", style="bold")
            shown = verdict.refusals[:_MAX_REFUSALS]
            self._print(render_findings(shown, verdict.headings).rstrip())
            if len(verdict.refusals) > len(shown):
                self._print(f"… and {len(verdict.refusals) - len(shown)} more")
            self._print(f"{verdict.advice}\nAll findings: {directory / TABLE_FILE}")

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)


class _Terminal(TextIOWrapper):
    """Goes quiet when its pipe is closed or its disk is full, because that is no reason to end a run."""

    def write(self, text: str) -> int:
        with self._quiet_on_error():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._quiet_on_error():
            super().flush()

    @contextmanager
    def _quiet_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


@contextmanager
def library_output_to(file: Path, terminal: TextIO) -> Iterator[TextIO]:
    """Redirects all output to stdout and stderr, from Python and C++ libraries, to a file.

    Args:
        file: Where to append the output; its folder is created.
        terminal: `sys.stdout` or `sys.stderr`.

    Yields:
        A stream to where `terminal` wrote before; it drops what cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    with open(file, "ab", buffering=0) as log, _Terminal(os.fdopen(os.dup(terminal.fileno()), "wb")) as outer:
        try:
            for descriptor in (1, 2):
                os.dup2(log.fileno(), descriptor)
            yield outer
        finally:
            for stream in streams:
                stream.flush()
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
