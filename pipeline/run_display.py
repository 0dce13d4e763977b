"""What a person sees while a run goes on and when it has ended."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

from pipeline.local_runner import RunResult

_NAME_WIDTH = 18


class RunDisplay:
    """Prints a line per step with its time, and what the running step says; a `local_runner.Listener`."""

    def __init__(self, console: Console) -> None:
        """Prints to `console`; passing texts only show where it is a terminal."""
        self._console = console
        self._status = console.status("")
        self._step = ""

    def step_started(self, name: str) -> None:
        """Shows the step as running."""
        self._step = name
        self._status.update(name)
        self._status.start()

    def step_finished(self, name: str, seconds: float, *, cached: bool) -> None:
        """Prints the step with its time."""
        self._status.stop()
        mark, time = ("=", "cached") if cached else ("✓", f"{seconds:5.1f} s")
        self._print(f"{mark} {name:<{_NAME_WIDTH}} {time}", style="dim" if cached else "")

    def progressed(self, text: str, *, passing: bool) -> None:
        """Prints what the step says, or shows it until the step says something else."""
        if passing:
            self._status.update(f"{self._step}  {text}")
        else:
            self._print(f"    {text}")

    def stop(self) -> None:
        """Leaves the terminal as it was, however the run ended."""
        self._status.stop()

    def show_result(self, result: RunResult) -> None:
        """Prints the accuracy, the decision of the gate and where the model is."""
        accuracy = f"{100 * result.evaluation.accuracy:.2f} %"
        digit, lowest = min(result.evaluation.digit_accuracy.items(), key=lambda item: item[1])
        self._print("")
        self._print(f"Test accuracy  {accuracy} (lowest: digit {digit}, {100 * lowest:.2f} %)")
        if result.run.outcome == "refused":
            self._print("Gate           refused by Evaluator; nothing was pushed", style="bold red")
            for refusal in result.evaluation.refusals or ("a slice or metric that the gate asks for is missing",):
                self._print(f"    {refusal}", style="red")
            self._print("    Train longer or on more data, or, if the bound is wrong, set it: section `evaluation`.")
            return
        unchanged = result.run.outcome == "unchanged"
        self._print(
            "Gate           passed" + ("; nothing has changed, nothing to do" if unchanged else ""), style="green"
        )
        self._print(f"Model          {result.pushed_to}")

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)


@contextmanager
def library_output_to(file: Path, terminal: TextIO) -> Iterator[TextIO]:
    """Sends all that libraries write to standard output and error, from Python or C++, to a file.

    Args:
        file: Where to; its folder is made.
        terminal: `sys.stdout` or `sys.stderr`, whose place in the outer world the yielded stream takes.

    Yields:
        A stream that still goes where `terminal` went.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    with open(file, "ab", buffering=0) as log, os.fdopen(os.dup(terminal.fileno()), "w") as outer:
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
