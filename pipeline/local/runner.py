"""Runs the pipeline in this process and tells a listener what happens, as it happens."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from components.verdict import read_verdict
from pipeline.local.run_result import RunResult, accuracy_on_test, outcome_of
from pipeline.local.step_observer import Listener, StepObserver
from pipeline.settings.settings import Settings
from registry.versions import list_versions

if TYPE_CHECKING:
    from pipeline.local.metadata import Outcome, Run

_DATA_ERROR = re.compile(r"DataError: (.+)")
_BEAM_NOTE = re.compile(r" \[while running '[^']*'\]")


class StepFailedError(RuntimeError):
    """A step failed; the message says which and why."""


class WorkspaceInUseError(RuntimeError):
    """Another run is using the workspace; the message says which."""


def run_pipeline(settings: Settings, listener: Listener) -> RunResult:
    """Runs the pipeline with TFX's LocalDagRunner and reads the result out of ML Metadata.

    Args:
        settings: All settings of the run.
        listener: Told of each step.

    Returns:
        What came of it, also when the gate refused the model.

    Raises:
        DataError: The data is missing, damaged, or of no known layout.
        StepFailedError: A step failed.
        WorkspaceInUseError: Another run is using the workspace.
    """
    with _exclusive(settings.workspace):
        return _run(settings, listener)


def _run(settings: Settings, listener: Listener) -> RunResult:
    from components.example_gen.data_version import find_data

    observer = StepObserver(listener)
    with observer.step("Fingerprint data"):
        data = find_data(settings.data.uri, settings.data.span)
    with observer.step("Load TFX"):
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner
        from tfx.orchestration.metadata import sqlite_metadata_connection_config

        from pipeline.beam.engine import beam_args
        from pipeline.digits_pipeline import create_pipeline

    pipeline = create_pipeline(settings, data, beam_args(settings))
    pipeline.metadata_connection_config = sqlite_metadata_connection_config(str(settings.metadata_file))
    run_before = _newest_run_id(settings)
    with observer.observing():
        try:
            LocalDagRunner().run(pipeline)
        except (Exception, KeyboardInterrupt) as error:
            stopped = is_interrupt(error)
            _record_end(settings, run_before, "stopped" if stopped else "failed")
            if stopped:
                raise StepFailedError(f"Stopped in {observer.current_step}; run again to go on from there.") from error
            raise explain_failure(error, observer.current_step) from error
    return _result(settings)


@contextmanager
def _exclusive(workspace: Path) -> Iterator[None]:
    """Keeps a second run out of the workspace: SQLite would stop one of the two in the middle."""
    workspace.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(workspace / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise WorkspaceInUseError(
            f"{workspace}: another run is using this workspace; wait for it, or choose another one with --workspace."
        ) from error


def explain_failure(error: BaseException, step: str | None) -> Exception:
    """Finds the mistake in the data behind what Beam makes of it: a noted copy, or the text of a traceback.

    Args:
        error: What TFX raised.
        step: Name of the step that was running.

    Returns:
        A DataError, or a StepFailedError that names the step and the last line of the reason.
    """
    from components.example_gen.sources import DataError

    text = _BEAM_NOTE.sub("", str(error))
    match = _DATA_ERROR.search(text)
    if isinstance(error, DataError) or match:
        return DataError(match[1] if match else text)
    reason = ": ".join([type(error).__name__, *text.strip().splitlines()[-1:]])
    return StepFailedError(f"{step or 'The pipeline'} failed: {reason}")


def _result(settings: Settings) -> RunResult:
    from pipeline.local.metadata import newest_artifacts, newest_run, open_metadata, record_outcome

    store = open_metadata(settings.metadata_file, writable=True)
    verdicts = {
        Path(artifact.uri): read_verdict(artifact.uri) for artifact in newest_artifacts(store, "digits.Verdict")
    }
    record_outcome(store, outcome_of(newest_run(store), verdicts.values()), accuracy_on_test(verdicts.values()))
    run = newest_run(store)
    versions = list_versions(settings.serving_directory)
    return RunResult(
        run,
        verdicts,
        pushed_to=settings.serving_directory / str(run.version) if run.version else None,
        served_version=versions[-1].number if versions else None,
    )


def is_interrupt(error: BaseException) -> bool:
    """Tells whether a person has stopped the run."""
    # Beam turns an interrupt into a RuntimeError with the traceback as its text.
    return isinstance(error, KeyboardInterrupt) or str(error).strip().endswith("KeyboardInterrupt")


def _record_end(settings: Settings, run_before: str | None, outcome: "Outcome") -> None:
    from pipeline.local.metadata import open_metadata, record_outcome

    # A run may end before it has a record of its own; the one before it keeps its outcome.
    if _newest_run_id(settings) != run_before:
        record_outcome(open_metadata(settings.metadata_file, writable=True), outcome)


def _newest_run_id(settings: Settings) -> str | None:
    runs = _known_runs(settings)
    return runs[-1].run_id if runs else None


def _known_runs(settings: Settings) -> "list[Run]":
    from pipeline.local.metadata import NoRunsError, list_runs, open_metadata

    try:
        return list_runs(open_metadata(settings.metadata_file))
    except NoRunsError:
        return []
