"""Prints the Python functions and the TensorFlow operations in which one step of a run spends its time."""

import cProfile
import os
import pstats
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
from rich.console import Console

from components.verdict import render_table
from pipeline.local.display import RunDisplay, StepEnd, library_output_to
from pipeline.local.runner import run_pipeline
from pipeline.settings.settings import Profile, load_settings

if TYPE_CHECKING:
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

_NUM_ROWS = 30
_MAX_NAME_LENGTH = 100

# A second of training is several megabytes of events.
_TRACED_SECONDS, _SKIPPED_SECONDS = 1, 4

_CALL = "StatefulPartitionedCall/"
_OPERATION = re.compile(r"[^:]+:\w+")
"""Events of other names are TensorFlow's own machinery, which contains the operations."""


class StepProfiler(RunDisplay):
    """A display that profiles one step: all of its Python code on the main thread, and every few seconds TensorFlow."""

    def __init__(self, console: Console, step: str, trace_folder: Path) -> None:
        """Profiles `step` and writes TensorFlow's traces to a folder."""
        super().__init__(console)
        self._profiled_step = step
        self._trace_folder = trace_folder
        self._ended = threading.Event()
        self._tracer = threading.Thread(target=self._trace)
        self.profile = cProfile.Profile()
        self.steps: list[str] = []
        """Names of the steps that have started."""

    def step_started(self, name: str) -> None:
        """See the base class."""
        super().step_started(name)
        self.steps.append(name)
        if name == self._profiled_step:
            self._tracer.start()
            self.profile.enable()

    def step_ended(self, name: str, state: StepEnd, seconds: float = 0.0) -> None:
        """See the base class."""
        if name == self._profiled_step:
            self._end()
        super().step_ended(name, state, seconds)

    def stop(self) -> None:
        """See the base class."""
        self._end()
        super().stop()

    def _end(self) -> None:
        self.profile.disable()
        self._ended.set()
        if self._tracer.is_alive():
            self._tracer.join()

    def _trace(self) -> None:
        import tensorflow as tf

        while not self._ended.wait(_SKIPPED_SECONDS):
            tf.profiler.experimental.start(str(self._trace_folder))
            self._ended.wait(_TRACED_SECONDS)
            tf.profiler.experimental.stop()


def print_hot_spots(step: str, profile: Profile) -> None:
    """Runs the pipeline in a new workspace and prints where a step spends its time.

    Raises:
        click.ClickException: There is no such step.
        ExpectedError: The run failed.
    """
    with TemporaryDirectory(prefix="hot-spots-") as name:
        folder = Path(name)
        settings = load_settings({"workspace": folder / "workspace", "profile": profile}, file=Path(os.devnull))
        with library_output_to(folder / "log", sys.stderr) as terminal:
            profiler = StepProfiler(Console(file=terminal), step, folder / "traces")
            try:
                run_pipeline(settings, profiler)
            finally:
                profiler.stop()
        if step not in profiler.steps:
            raise click.ClickException(f"{step}: expected one of {', '.join(profiler.steps)}.")
        for order in ("cumulative", "tottime"):
            pstats.Stats(profiler.profile).sort_stats(order).print_stats(_NUM_ROWS)
        click.echo(render_table(("TensorFlow operation", "share"), operation_rows(_read_traces(folder / "traces"))))


def _read_traces(folder: Path) -> "Iterable[XSpace]":
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    return (XSpace.FromString(file.read_bytes()) for file in folder.rglob("*.xplane.pb"))


def operation_rows(traces: "Iterable[XSpace]") -> list[tuple[str, str]]:
    """Returns the operations that take longest, as NODE:TYPE, and their shares of the time of all operations."""
    durations: Counter[str] = Counter()
    for plane in (plane for trace in traces for plane in trace.planes):
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            if _OPERATION.fullmatch(name):
                durations[name.removeprefix(_CALL)[-_MAX_NAME_LENGTH:]] += event.duration_ps
    total = durations.total()
    return [(name, f"{duration / total:.1%}") for name, duration in durations.most_common(_NUM_ROWS)]
