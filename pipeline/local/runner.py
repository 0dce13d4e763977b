"""Runs the pipeline in this process and shows its steps as they happen."""

import gc
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from components.progress import NUM_RECORDS_FIELD, PROGRESS_FIELD
from components.run_report.report import HTML_FILE, REPORT_TYPE
from components.verdict import Verdict, read_verdict
from pipeline.local.memory import PeakMemory, sampled_memory
from pipeline.settings.settings import Settings
from pipeline.settings.tuned import read_trials
from registry.errors import ExpectedError
from registry.provenance import VERDICT_TYPE, DamagedVersionError, installed_software, read_provenance
from registry.versions import Version, newest_usable

if TYPE_CHECKING:
    from tfx.proto.orchestration.pipeline_pb2 import Pipeline as CompiledPipeline

    from components.trainer.hyperparameters import Search
    from pipeline.local.display import RunDisplay, StepEnd
    from pipeline.local.metadata import Outcome, Run
    from pipeline.settings.tuned import Trial

_STEP_LOGGER = "components"
_DATA_ERROR = re.compile(r"DataError: (.+)")
_RESOLUTION_ERRORS = ("[%s] Input resolution error: %s", "[%s] Dynamic exec property resolution error: %s")
_BEAM_NOTE = re.compile(r" \[while running '[^']*'\]")
_NOISE = re.compile(r"\x1b\[\d+m|\{\{function_node [^}]*\}\} |\s*\[Op:.*")
_ARGUMENTS = re.compile(r"^(?:Arguments|Call arguments) received by |^Original stack trace for ", re.MULTILINE)
_TRACEBACKS = ("Traceback (most recent call last)", "in user code:")
_EXCEPTION = re.compile(r"\s*(?:\w+\.)*\w*(?:Error|Exception): \S")
_FRAME = re.compile(
    r"\s|Graph execution error:|Detected at node |<stack traces |Node: |\d+ root error|"
    r"Exception encountered when calling "
)
"""Lines of TensorFlow and Keras around the description of an error."""


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
        served_version: The version that a server loads now.
        rolled_back: Whether `served_version` is the result of a rollback.
        report: The page with the report.
        trials: The completed trials, best first, if the run was a search for hyperparameters.
    """

    run: "Run"
    verdicts: Mapping[Path, Verdict]
    pushed_to: Path | None
    served_version: int | None
    rolled_back: bool = False
    report: Path | None = None
    trials: tuple["Trial", ...] = ()

    @property
    def class_accuracy(self) -> dict[str, float]:
        """Recall of each class on the test split, by slice name; empty if no model was evaluated."""
        return _evaluated(self.verdicts.values(), "recall")


def run_pipeline(settings: Settings, display: "RunDisplay", search: "Search | None" = None) -> RunResult:
    """Runs the pipeline with TFX's LocalDagRunner.

    Args:
        settings: All settings.
        display: Shows the steps.
        search: A search for hyperparameters to run instead; its result becomes `settings.tuned_file`.

    Returns:
        The result of the run, also if a gate refused the model.

    Raises:
        DataError: The data is missing, damaged, or in an unknown format.
        SigningKeyError: The private key cannot be used.
        StepFailedError: A step failed, or the user stopped the run.
        WorkspaceInUseError: Another run is using the workspace.
    """
    settings.workspace.mkdir(parents=True, exist_ok=True)
    # SQLite would abort a second run.
    with workspace_lock(settings.workspace):
        return _run(settings, display, search)


@contextmanager
def workspace_lock(workspace: Path) -> Iterator[None]:
    """Keeps other runs and `digits clean` out of an existing workspace.

    Raises:
        WorkspaceInUseError: Another run is using the workspace.
    """
    try:
        with FileLock(workspace / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise WorkspaceInUseError(
            f"{workspace}: another run is using this workspace; wait for it, or choose another one with --workspace."
        ) from error


def _run(settings: Settings, display: "RunDisplay", search: "Search | None") -> RunResult:
    from components.example_gen.sources.detection import find_data

    observer = StepObserver(display)
    _check_workspace(settings, display)
    settings.prepare_private_key(say=partial(display.progressed, transient=False))
    with observer.step("Fingerprint data"):
        data = find_data(settings.data.uri, settings.data.span)
    with observer.step("Load TFX"), _without_garbage_collection():
        from tfx.dsl.compiler.compiler import Compiler
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner
        from tfx.orchestration.metadata import sqlite_metadata_connection_config

        from pipeline.beam.options import beam_args
        from pipeline.digits_pipeline import create_pipeline

    trials = read_trials(settings)
    pipeline = create_pipeline(settings, data, beam_args(settings), search, trials)
    pipeline.metadata_connection_config = sqlite_metadata_connection_config(str(settings.metadata_file))
    compiled = Compiler().compile(pipeline)
    description = {
        "settings": settings.model_dump(mode="json"),
        "software": installed_software().model_dump(mode="json"),
        "is_search": search is not None,
        "trials": trials,
    }
    display.steps_planned([node.pipeline_node.node_info.id for node in compiled.nodes])
    with sampled_memory() as memory, observer.observing(partial(_between_steps, settings, compiled, memory)):
        try:
            LocalDagRunner().run_with_ir(compiled)
        except (Exception, KeyboardInterrupt) as error:
            stopped = is_interrupt(error)
            failure = (
                StepFailedError(f"Stopped in {observer.current_step}; run again to continue from there.")
                if stopped
                else explain_failure(error, observer.current_step)
            )
            _record_end(settings, _run_id(compiled), "stopped" if stopped else "failed", failure, description)
            raise failure from error
    return _result(settings, _run_id(compiled), observer.failures, description)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Speeds up imports by a quarter: what they create stays, and searching it for garbage takes longer and longer."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _check_workspace(settings: Settings, display: "RunDisplay") -> None:
    """Keeps TFX from reusing damaged artifacts, or the folders of artifacts that the database has no records of."""
    from pipeline.local.metadata import drop_damaged_artifacts, drop_moved_artifacts, has_records, open_metadata

    if has_records(settings.metadata_file):
        with open_metadata(settings.metadata_file, writable=True) as store:
            if origin := drop_moved_artifacts(store, settings.pipeline_root):
                display.progressed(
                    f"workspace moved or copied from {origin}, according to its records; all steps run again",
                    transient=False,
                )
            for path in drop_damaged_artifacts(store):
                display.progressed(f"{path} is missing or has changed; its step runs again", transient=False)
    elif settings.pipeline_root.exists():
        old = settings.pipeline_root.with_name(f"{settings.pipeline_root.name}-{datetime.now():%Y%m%d-%H%M%S}")
        settings.pipeline_root.rename(old)
        display.progressed(
            f"{settings.metadata_file.name} has no record of the old artifacts; moved to {old}", transient=False
        )


def _between_steps(settings: Settings, compiled: "CompiledPipeline", memory: PeakMemory, has_run: bool) -> None:
    """Records the peak memory of a step that has run, and checks the files of all steps."""
    from pipeline.local.metadata import MetadataError, check_files, open_metadata, record_peak_memory

    run_id, peak_bytes, path = _run_id(compiled), memory.take(), None
    # The first step creates the database. If that fails, as on a full disk, the step reports the reason.
    if settings.metadata_file.exists():
        with suppress(MetadataError), open_metadata(settings.metadata_file, writable=True) as store:
            if has_run:
                record_peak_memory(store, run_id, peak_bytes)
            path = check_files(store, run_id)
    if path:
        raise StepFailedError(
            f"{path} is missing, or has changed since its step wrote it; run again, and that step runs again."
        )


def _run_id(compiled: "CompiledPipeline") -> str:
    # LocalDagRunner replaces the runtime parameter with the ID.
    return compiled.runtime_spec.pipeline_run_id.field_value.string_value


def _result(settings: Settings, run_id: str, failures: Mapping[str, str], description: Mapping[str, Any]) -> RunResult:
    from components.trainer.tuning import TRIALS_FILE
    from pipeline.local.metadata import artifact_folders, open_metadata, read_run, record_outcome
    from pipeline.settings.tuned import write_tuned

    with open_metadata(settings.metadata_file) as store:
        run = read_run(store, run_id)
        folders = artifact_folders(store, run_id, VERDICT_TYPE)
        reports = artifact_folders(store, run_id, REPORT_TYPE)
        tuner_results = artifact_folders(store, run_id, "TunerResults")
    if failed := [step.name for step in run.steps if step.state == "failed"]:
        failure = StepFailedError(f"{failed[0]} failed: {failures.get(failed[0], 'see the log')}")
        _record_end(settings, run_id, "failed", failure, description)
        raise failure
    steps = [step.name for step in run.steps]
    found = {Path(folder): read_verdict(folder) for folder in folders}
    verdicts = dict(sorted(found.items(), key=lambda item: steps.index(item[1].gate)))
    accuracy = _evaluated(verdicts.values(), "accuracy").get("all")
    trials = [trial for folder in tuner_results for trial in json.loads(Path(folder, TRIALS_FILE).read_bytes())]
    if trials:
        description = {**description, "trials": trials}
    run = replace(run, outcome=run_outcome(run, verdicts.values()), test_accuracy=accuracy, **description)
    with open_metadata(settings.metadata_file, writable=True) as store:
        record_outcome(store, run_id, run.outcome, accuracy, description)
    if trials:
        write_tuned(settings, trials)
    served = newest_usable(settings.serving_directory, settings.trust_policy)
    return RunResult(
        run,
        verdicts,
        pushed_to=settings.serving_directory / str(run.version) if run.version else None,
        served_version=served.number if served else None,
        rolled_back=served is not None and _is_rollback(served),
        report=Path(reports[0], HTML_FILE) if reports else None,
        trials=tuple(trials),
    )


def _is_rollback(version: Version) -> bool:
    with suppress(DamagedVersionError):
        provenance = read_provenance(version.directory)
        return provenance is not None and provenance.rolled_back_to is not None
    return False


def _record_end(
    settings: Settings, run_id: str, outcome: "Outcome", reason: Exception, description: Mapping[str, Any]
) -> None:
    from pipeline.local.metadata import MetadataError, open_metadata, record_outcome

    # The first step creates the database.
    if settings.metadata_file.exists():
        # The reason why the run has ended is more important.
        with suppress(MetadataError), open_metadata(settings.metadata_file, writable=True) as store:
            record_outcome(store, run_id, outcome, description=description, reason=str(reason))


def run_outcome(run: "Run", verdicts: Iterable[Verdict]) -> "Outcome":
    """Returns the outcome of a run that completed without an error.

    Returns:
        `refused` if a gate refused the data or the model, or Pusher found that TFX's own InfraValidator did; else
        `tuned` after a search for hyperparameters, and `pushed` or `unchanged` after any other run.
    """
    steps = {step.name for step in run.steps}
    if not all(verdict.passed for verdict in verdicts) or (run.version is None and "Tuner" not in steps):
        return "refused"
    if "Tuner" in steps:
        return "tuned"
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
        A DataError, or a StepFailedError with the name of the step and the sentence that gives the reason.
    """
    from components.example_gen.sources.errors import DataError

    text = _BEAM_NOTE.sub("", str(error))
    match = _DATA_ERROR.search(text)
    if isinstance(error, DataError) or match:
        return DataError(match[1] if match else text)
    # The message of an expected error is complete.
    name = "" if isinstance(error, ExpectedError) else type(error).__name__
    sentence = _telling_sentence(text)
    reason = ": ".join(filter(None, (name, sentence.removeprefix(f"{name}: "))))
    return StepFailedError(f"{step or 'The pipeline'} failed: {reason}")


def _telling_sentence(text: str) -> str:
    """Returns the line that describes an error, without the lines that TensorFlow, Keras and Beam add."""
    lines = [line for line in _ARGUMENTS.split(_NOISE.sub("", text))[0].splitlines() if line.strip()]
    if any(traceback in text for traceback in _TRACEBACKS):
        # The last exception is the one that was not handled.
        return next((line.strip() for line in reversed(lines) if _EXCEPTION.match(line)), lines[-1].strip())
    telling = [line.strip() for line in lines if not _FRAME.match(line)] or [line.strip() for line in lines]
    return " ".join(telling[: 2 if telling[0].endswith(":") else 1]) if telling else ""


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
        self._state: StepEnd = "ran"
        self._between_steps: Callable[[bool], None] = lambda has_run: None
        self.current_step: str | None = None
        self.failures: dict[str, str] = {}
        """Why steps failed whose inputs TFX could not resolve; it logs the reason and goes on."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Reports the body of the `with` statement as a step."""
        self._start(name)
        yield
        self._finish()

    @contextmanager
    def observing(self, between_steps: Callable[[bool], None]) -> Iterator[None]:
        """Reports the steps that run in the body of the `with` statement.

        Args:
            between_steps: Called when a step starts or has finished, with whether it has run; its error ends the run.
        """
        from absl import logging as absl_logging

        self._between_steps = between_steps
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
            self._report(record)
        elif record.msg == "Component %s is running." and isinstance(record.args, tuple):
            self._start(str(record.args[0]))
            self._between_steps(False)
        elif record.msg == "A cached execution %d is used.":
            self._state = "cached"
        elif record.msg == "Skipping execution for %s":
            self._state = "not run"
        elif record.msg in _RESOLUTION_ERRORS and isinstance(record.args, tuple):
            self._state = "failed"
            self.failures[str(record.args[0])] = str(record.args[1])
        elif record.msg == "Component %s is finished.":
            self._between_steps(self._state == "ran")
            self._finish()

    def _report(self, record: logging.LogRecord) -> None:
        if count := getattr(record, NUM_RECORDS_FIELD, None):
            self._display.records_processed(count)
        else:
            progress = getattr(record, PROGRESS_FIELD, None)
            transient = record.levelno < logging.INFO
            self._display.progressed(record.getMessage(), transient=transient, progress=progress)

    def _start(self, name: str) -> None:
        self.current_step, self._state, self._started = name, "ran", time.monotonic()
        self._display.step_started(name)

    def _finish(self) -> None:
        name, self.current_step = self.current_step, None
        self._display.step_ended(str(name), self._state, time.monotonic() - self._started)
