"""Runs the pipeline in this process and shows its steps as they happen."""

import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from components.verdict import Verdict, read_verdict
from pipeline.settings.settings import Settings
from registry.errors import ExpectedError
from registry.versions import list_versions

if TYPE_CHECKING:
    from tfx.proto.orchestration.pipeline_pb2 import Pipeline as CompiledPipeline

    from pipeline.local.display import RunDisplay, StepEnd
    from pipeline.local.metadata import Outcome, Run

_STEP_LOGGER = "components"
_DATA_ERROR = re.compile(r"DataError: (.+)")
_BEAM_NOTE = re.compile(r" \[while running '[^']*'\]")


class StepFailedError(ExpectedError):
    """A step failed; the message names the step and the reason."""


class WorkspaceInUseError(ExpectedError):
    """Another run is using the workspace; the message names it."""


@dataclass(frozen=True)
class RunResult:
    """The result of a completed run.

    Attributes:
        run: The run as recorded in ML Metadata, with its outcome.
        verdicts: The verdicts of the gates, in execution order, by the folder that each was written to.
        pushed_to: Version directory of the model; None if a gate refused it.
        served_version: The version that a server loads now; differs from that of the run after a rollback.
    """

    run: "Run"
    verdicts: Mapping[Path, Verdict]
    pushed_to: Path | None
    served_version: int | None

    @property
    def digit_accuracy(self) -> dict[str, float]:
        """Recall of each digit on the test split, by slice name; empty if no model was evaluated."""
        return _evaluated(self.verdicts.values(), "recall")


def run_pipeline(settings: Settings, display: "RunDisplay") -> RunResult:
    """Runs the pipeline with TFX's LocalDagRunner.

    Returns:
        The result of the run, also if a gate refused the model.

    Raises:
        DataError: The data is missing, damaged, or in an unknown format.
        StepFailedError: A step failed, or the user stopped the run.
        WorkspaceInUseError: Another run is using the workspace.
    """
    workspace = settings.workspace
    workspace.mkdir(parents=True, exist_ok=True)
    try:
        # SQLite would abort a second run.
        with FileLock(workspace / ".lock", timeout=0):
            return _run(settings, display)
    except Timeout as error:
        raise WorkspaceInUseError(
            f"{workspace}: another run is using this workspace; wait for it, or choose another one with --workspace."
        ) from error


def _run(settings: Settings, display: "RunDisplay") -> RunResult:
    from components.example_gen.sources.detection import find_data

    observer = StepObserver(display)
    with observer.step("Fingerprint data"):
        data = find_data(settings.data.uri, settings.data.span)
    with observer.step("Load TFX"):
        from tfx.dsl.compiler.compiler import Compiler
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner
        from tfx.orchestration.metadata import sqlite_metadata_connection_config

        from pipeline.beam.options import beam_args
        from pipeline.digits_pipeline import create_pipeline

    pipeline = create_pipeline(settings, data, beam_args(settings))
    pipeline.metadata_connection_config = sqlite_metadata_connection_config(str(settings.metadata_file))
    compiled = Compiler().compile(pipeline)
    with observer.observing():
        try:
            LocalDagRunner().run_with_ir(compiled)
        except (Exception, KeyboardInterrupt) as error:
            stopped = is_interrupt(error)
            _record_end(settings, _run_id(compiled), "stopped" if stopped else "failed")
            if stopped:
                raise StepFailedError(
                    f"Stopped in {observer.current_step}; run again to continue from there."
                ) from error
            raise explain_failure(error, observer.current_step) from error
    return _result(settings, _run_id(compiled))


def _run_id(compiled: "CompiledPipeline") -> str:
    # LocalDagRunner replaces the runtime parameter with the ID.
    return compiled.runtime_spec.pipeline_run_id.field_value.string_value


def _result(settings: Settings, run_id: str) -> RunResult:
    from pipeline.local.metadata import artifact_folders, open_metadata, read_run, record_outcome

    store = open_metadata(settings.metadata_file, writable=True)
    run = read_run(store, run_id)
    steps = [step.name for step in run.steps]
    found = {Path(folder): read_verdict(folder) for folder in artifact_folders(store, run_id, "digits.Verdict")}
    verdicts = dict(sorted(found.items(), key=lambda item: steps.index(item[1].gate)))
    accuracy = _evaluated(verdicts.values(), "accuracy").get("all")
    run = replace(run, outcome=run_outcome(run, verdicts.values()), test_accuracy=accuracy)
    record_outcome(store, run_id, run.outcome, accuracy)
    versions = list_versions(settings.serving_directory)
    return RunResult(
        run,
        verdicts,
        pushed_to=settings.serving_directory / str(run.version) if run.version else None,
        served_version=versions[-1].number if versions else None,
    )


def _record_end(settings: Settings, run_id: str, outcome: "Outcome") -> None:
    from pipeline.local.metadata import open_metadata, record_outcome

    # The first step creates the database.
    if settings.metadata_file.exists():
        record_outcome(open_metadata(settings.metadata_file, writable=True), run_id, outcome)


def run_outcome(run: "Run", verdicts: Iterable[Verdict]) -> "Outcome":
    """Returns the outcome of a run that completed without an error.

    Returns:
        `refused` if a gate refused the model, or Pusher found that TFX's own InfraValidator did; else `pushed` or
        `unchanged`.
    """
    if run.version is None or not all(verdict.passed for verdict in verdicts):
        return "refused"
    return "unchanged" if any(step.name == "Pusher" and step.state == "cached" for step in run.steps) else "pushed"


def _evaluated(verdicts: Iterable[Verdict], metric: str) -> dict[str, float]:
    """Returns the values of a metric on the test split, by slice."""
    return {
        finding.slice: finding.value
        for verdict in verdicts
        if verdict.gate == "Evaluator"
        for finding in verdict.findings
        if finding.metric == metric and isinstance(finding.value, float)
    }


def explain_failure(error: BaseException, step: str | None) -> Exception:
    """Finds a DataError that Beam wraps: as a copy with a note, or as the text of a traceback.

    Returns:
        A DataError, or a StepFailedError that names the step and the last line of the reason.
    """
    from components.example_gen.sources.errors import DataError

    text = _BEAM_NOTE.sub("", str(error))
    match = _DATA_ERROR.search(text)
    if isinstance(error, DataError) or match:
        return DataError(match[1] if match else text)
    reason = ": ".join([type(error).__name__, *text.strip().splitlines()[-1:]])
    return StepFailedError(f"{step or 'The pipeline'} failed: {reason}")


def is_interrupt(error: BaseException) -> bool:
    """Returns whether the user stopped the run."""
    # Beam turns an interrupt into a RuntimeError with the traceback as its text.
    return isinstance(error, KeyboardInterrupt) or str(error).strip().endswith("KeyboardInterrupt")


class StepObserver(logging.Handler):
    """Turns the log of TFX's launcher into lines of a display: LocalDagRunner has no hooks."""

    def __init__(self, display: "RunDisplay") -> None:
        """Reports to `display`."""
        super().__init__()
        self._display = display
        self._started = 0.0
        self._cached = False
        self._skipped = False
        self.current_step: str | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Reports the body of the `with` statement as a step."""
        self._start(name)
        yield
        self._finish()

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Reports the steps that run in the body of the `with` statement."""
        from absl import logging as absl_logging

        # absl would reset a level that is set with the logging module.
        absl_logging.set_verbosity(absl_logging.INFO)
        loggers = [logging.getLogger("absl"), logging.getLogger(_STEP_LOGGER)]
        loggers[1].setLevel(logging.DEBUG)
        for logger in loggers:
            logger.addHandler(self)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """The loggers call this for each record."""
        if record.name.startswith(_STEP_LOGGER):
            self._display.progressed(record.getMessage(), transient=record.levelno < logging.INFO)
        elif record.msg == "Component %s is running." and isinstance(record.args, tuple):
            self._start(str(record.args[0]))
        elif record.msg == "A cached execution %d is used.":
            self._cached = True
        elif record.msg == "Skipping execution for %s":
            self._skipped = True
        elif record.msg == "Component %s is finished." and not self._skipped:
            self._finish()

    def _start(self, name: str) -> None:
        self.current_step, self._cached, self._skipped, self._started = name, False, False, time.monotonic()
        self._display.step_started(name)

    def _finish(self) -> None:
        name, self.current_step = self.current_step, None
        state: StepEnd = "cached" if self._cached else "ran"
        self._display.step_ended(str(name), state, time.monotonic() - self._started)
