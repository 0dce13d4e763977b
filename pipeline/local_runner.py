"""Runs the pipeline in this process and tells a listener what happens, as it happens."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from filelock import FileLock, Timeout

from pipeline.settings import Settings
from pipeline.versions import list_versions

if TYPE_CHECKING:
    from tfx.proto.orchestration.pipeline_pb2 import Pipeline as CompiledPipeline

    from pipeline.evaluation import Evaluation
    from pipeline.metadata import Run

_DATA_ERROR = re.compile(r"DataError: (.+)")
_BEAM_NOTE = re.compile(r" \[while running '[^']*'\]")
_OUR_LOGGER = "components"


class Listener(Protocol):
    """Whoever wants to know how a run goes on."""

    def step_started(self, name: str) -> None:
        """A step begins."""

    def step_finished(self, name: str, seconds: float, *, cached: bool) -> None:
        """A step ended well after so many seconds, or its result was there already."""

    def progressed(self, text: str, *, passing: bool) -> None:
        """The step says how far it is; `passing` texts are soon replaced by another."""


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Attributes:
        run: The run as ML Metadata has it.
        evaluation: What the Evaluator found.
        pushed_to: Version directory of the model, if it was blessed.
    """

    run: "Run"
    evaluation: "Evaluation"
    pushed_to: Path | None


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

    observer = _StepObserver(listener)
    with observer.step("Fingerprint data"):
        data = find_data(settings.data.uri, settings.data.span)
    with observer.step("Load TFX"):
        from tfx.dsl.compiler.compiler import Compiler
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner
        from tfx.orchestration.metadata import sqlite_metadata_connection_config

        from pipeline.beam_engine import direct_runner_args
        from pipeline.digits_pipeline import create_pipeline

    pipeline = create_pipeline(settings, data, direct_runner_args())
    pipeline.metadata_connection_config = sqlite_metadata_connection_config(str(settings.metadata_file))
    compiled = Compiler().compile(pipeline)
    distrust_cache(compiled, settings)
    with observer.observing():
        try:
            LocalDagRunner().run_with_ir(compiled)
        except Exception as error:
            _record_failure(settings)
            raise _explain(error, observer.current_step) from error
    return _result(settings)


def distrust_cache(compiled: "CompiledPipeline", settings: Settings) -> None:
    """Makes steps run again whose results somebody has deleted: TFX's cache only remembers where they were.

    Args:
        compiled: The pipeline, changed in place.
        settings: Where artifacts and pushed versions are kept.
    """
    artifacts_are_gone = not settings.pipeline_root.exists()
    versions_are_gone = not list_versions(settings.serving_directory)
    for node in compiled.nodes:
        step = node.pipeline_node
        if artifacts_are_gone or (versions_are_gone and step.node_info.id == "Pusher"):
            step.execution_options.caching_options.enable_cache = False


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


class _StepObserver:
    """Turns what TFX's launcher logs about steps into calls of the listener.

    LocalDagRunner has no hooks; its log is the only place where it says which step begins and ends.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._started = 0.0
        self._cached = False
        self.current_step: str | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Reports the body of the `with` statement as a step."""
        self._start(name)
        yield
        self._finish()

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Listens to TFX and to our own steps while the body of the `with` statement runs."""
        from absl import logging as absl_logging

        handlers = {"absl": _Handler(self._on_tfx_record), _OUR_LOGGER: _Handler(self._on_our_record)}
        # Through absl: it would take a level set behind its back away again in the middle of a run.
        absl_logging.set_verbosity(absl_logging.INFO)
        logging.getLogger(_OUR_LOGGER).setLevel(logging.DEBUG)
        for name, handler in handlers.items():
            logging.getLogger(name).addHandler(handler)
        try:
            yield
        finally:
            for name, handler in handlers.items():
                logging.getLogger(name).removeHandler(handler)

    def _on_tfx_record(self, record: logging.LogRecord) -> None:
        if record.msg == "Component %s is running." and isinstance(record.args, tuple):
            self._start(str(record.args[0]))
        elif record.msg == "A cached execution %d is used.":
            self._cached = True
        elif record.msg == "Component %s is finished.":
            self._finish()

    def _on_our_record(self, record: logging.LogRecord) -> None:
        self._listener.progressed(record.getMessage(), passing=record.levelno < logging.INFO)

    def _start(self, name: str) -> None:
        self.current_step, self._cached, self._started = name, False, time.monotonic()
        self._listener.step_started(name)

    def _finish(self) -> None:
        name, self.current_step = self.current_step, None
        self._listener.step_finished(str(name), time.monotonic() - self._started, cached=self._cached)


class _Handler(logging.Handler):
    """Passes every record to a function."""

    def __init__(self, receive: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._receive = receive

    def emit(self, record: logging.LogRecord) -> None:
        self._receive(record)


def _explain(error: Exception, step: str | None) -> Exception:
    """Finds the mistake in the data behind what Beam makes of it: a noted copy, or the text of a traceback."""
    from components.example_gen.sources import DataError

    text = _BEAM_NOTE.sub("", str(error))
    match = _DATA_ERROR.search(text)
    if isinstance(error, DataError) or match:
        return DataError(match[1] if match else text)
    reason = text.strip().splitlines()
    return StepFailedError(f"{step or 'The pipeline'} failed: {reason[-1] if reason else type(error).__name__}")


def _result(settings: Settings) -> RunResult:
    from pipeline.evaluation import read_evaluation
    from pipeline.metadata import Outcome, newest_artifact, newest_run, open_metadata, record_outcome

    store = open_metadata(settings.metadata_file, writable=True)
    evaluation = read_evaluation(newest_artifact(store, "ModelEvaluation").uri)
    pusher = newest_run(store).steps[-1]
    outcome: Outcome = "refused" if evaluation.refusals else "unchanged" if pusher.state == "cached" else "pushed"
    record_outcome(store, outcome, evaluation.accuracy)
    run = newest_run(store)
    return RunResult(run, evaluation, settings.serving_directory / str(run.version) if run.version else None)


def _record_failure(settings: Settings) -> None:
    from pipeline.metadata import newest_run, open_metadata, record_outcome

    # A run may fail before it has a record of its own; the one before it keeps its outcome.
    with suppress(LookupError):
        store = open_metadata(settings.metadata_file, writable=True)
        if newest_run(store).outcome == "unfinished":
            record_outcome(store, "failed")
