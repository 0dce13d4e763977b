"""Shows the progress and the result of a run on the terminal."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from components.run_report.report import REPORT_STEPS
from components.verdict import TABLE_FILE, render_findings, render_table

if TYPE_CHECKING:
    from pipeline.local.runner import RunResult
    from pipeline.settings.tuned import Trial

StepEnd = Literal["ran", "cached", "failed", "not run"]

_STEP_ENDS: dict[StepEnd, tuple[str, str, str]] = {
    "ran": ("✓", "{:5.1f} s", ""),
    "cached": ("=", "cached", "dim"),
    "failed": ("✗", "{:5.1f} s  failed", "bold red"),
    "not run": ("-", "not run", "dim"),
}
"""Mark, text and style of each line."""

_NAME_WIDTH = 19
_SPEED_ESTIMATE_SECONDS = 120.0
"""How far the estimate of the time left looks back: it has to see the evaluation at the end of an epoch."""
_LOG_POLL_SECONDS = 0.2
_SEARCHED = {
    "learning rate": "learning_rate",
    "decay": "weight_decay",
    "smoothing": "label_smoothing",
    **{name: name for name in ("width", "depth", "augmentation")},
}
"""Columns of the table of trials."""
_MAX_REFUSALS = 10
"""Per gate, so that the result fits on a screen."""


class RunDisplay:
    """Prints one line per step with its duration; a terminal also shows the running step and those that wait."""

    def __init__(self, console: Console) -> None:
        """Prints to `console`, which shows the running step only if it is a terminal."""
        self._console = console
        self._waiting: list[str] = []
        self._text = ""
        self._num_records = 0
        self._progress = Progress()
        self._live = Live(
            get_renderable=self._render,
            console=console,
            transient=True,
            # They are the log.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def steps_planned(self, names: Sequence[str]) -> None:
        """Shows steps as waiting until they start."""
        self._waiting = [name for name in names if name not in REPORT_STEPS[1:]]

    def step_started(self, name: str) -> None:
        """Shows the step as running; if it is already, its time goes on."""
        if [task.description for task in self._progress.tasks] != [name]:
            self._waiting = [waiting for waiting in self._waiting if waiting != name]
            self._text, self._num_records = "", 0
            self._progress = Progress(*_STEP_COLUMNS, speed_estimate_period=_SPEED_ESTIMATE_SECONDS)
            self._progress.add_task(name, total=None)
        self._live.start()
        self._live.refresh()

    def step_ended(self, name: str, state: StepEnd, seconds: float = 0.0) -> None:
        """Prints a step that has ended, with its duration, or that does not run."""
        self._progress, self._text = Progress(), ""
        self._refresh()
        if state == "not run" and name in REPORT_STEPS:
            return
        mark, text, style = _STEP_ENDS[state]
        line = f"{mark} {name:<{_NAME_WIDTH}} {text.format(seconds)}"
        if self._num_records and seconds:
            line += f"  {self._num_records:,} records, {self._num_records / seconds:,.0f} per second"
        self._print(line, style)

    def progressed(self, text: str, *, transient: bool, progress: float | None = None) -> None:
        """Shows the progress of the running step.

        Args:
            text: What it does; printed, or, if it is `transient`, shown on a terminal until the next one.
            transient: Whether the text is replaced by the next one.
            progress: Share of the step that is done, 0 to 1; a terminal shows it as a bar, with the time left.
        """
        if progress is not None:
            self._progress.columns = _PROGRESS_COLUMNS
            self._progress.update(self._progress.task_ids[0], total=1, completed=progress)
        if transient:
            self._text = text
        else:
            self._text = ""
            self._print(f"    {text}")
        self._refresh()

    def records_processed(self, count: int) -> None:
        """Adds to the number of records that the line of the running step tells when the step has ended."""
        self._num_records += count

    def show_log(self, line: str) -> None:
        """Prints a line of the libraries' log, without the colors that it may have."""
        self._print(Text.from_ansi(line).plain, "dim")

    def stop(self) -> None:
        """Restores the terminal."""
        self._live.stop()

    def show_result(self, result: "RunResult") -> None:
        """Prints the accuracy, the verdicts of the gates with the reasons of refusals, and the model's folder."""
        self._print("")
        if result.trials:
            self._show_trials(result.trials)
            return
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
        for verdict in result.verdicts.values():
            for text in verdict.accepted:
                self._print(f"               accepted by a person: {verdict.gate}, {text}", style="yellow")
        self._print(f"Model          {result.pushed_to}")
        if result.served_version != result.run.version:
            cause = "because of a rollback" if result.rolled_back else "which is newer"
            self._print(
                f"Served         version {result.served_version}, {cause}; "
                f"`digits rollback {result.run.version}` would serve this model again"
            )

    def _show_trials(self, trials: "Sequence[Trial]") -> None:
        rows = [
            (
                str(trial["trial"]),
                f"{trial['eval_loss']:.4f}",
                f"{100 * trial['eval_accuracy']:.2f} %",
                f"{trial['seconds']:.0f} s",
                *(f"{trial[name]:.3g}" for name in _SEARCHED.values()),
            )
            for trial in trials
        ]
        header = ("trial", "eval loss", "accuracy", "took", *_SEARCHED)
        self._print(render_table(header, rows).rstrip())

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

    def _refresh(self) -> None:
        if self._live.is_started:
            self._live.refresh()

    def _render(self) -> Group:
        texts = [f"    {self._text}"] if self._text else []
        if self._waiting:
            texts.append(f"  then {', '.join(self._waiting)}")
        return Group(self._progress, *(Text(text, style="dim", no_wrap=True, overflow="ellipsis") for text in texts))

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)


class _RunningColumn(SpinnerColumn):
    """Spins until the step has ended, also after all of its progress."""

    def render(self, task: Task) -> RenderableType:
        return self.spinner.render(task.get_time())


class _TimeLeftColumn(TimeRemainingColumn):
    def render(self, task: Task) -> Text:
        return super().render(task) + " left"


_STEP_COLUMNS = (_RunningColumn(), TextColumn(f"{{task.description:<{_NAME_WIDTH}}} {{task.elapsed:5.1f}} s"))
"""Like the line of a step that has ended."""
_PROGRESS_COLUMNS = (*_STEP_COLUMNS, BarColumn(bar_width=None), _TimeLeftColumn(compact=True))


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
    with (
        open(file, "ab", buffering=0) as log,
        _Terminal(
            os.fdopen(os.dup(terminal.fileno()), "wb"), encoding=terminal.encoding, errors=terminal.errors
        ) as outer,
    ):
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


@contextmanager
def following(file: Path, show: Callable[[str], None]) -> Iterator[None]:
    """Shows the lines that are appended to a file in the body of the `with` statement.

    Args:
        file: An existing file.
        show: Called with each line, in another thread.
    """
    ended = threading.Event()

    def follow() -> None:
        line, has_ended = "", False
        while not has_ended:
            has_ended = ended.wait(_LOG_POLL_SECONDS)
            *complete, line = (line + content.read()).split("\n")
            for each in complete:
                show(each)
        if line:
            show(line)

    with file.open(encoding="utf-8", errors="replace") as content:
        content.seek(0, os.SEEK_END)
        thread = threading.Thread(target=follow, name="log follower")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
