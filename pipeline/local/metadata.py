"""Reads runs from ML Metadata without loading TFX, and records how they ended."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, cast

from ml_metadata.errors import StatusError
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from components.features import FINGERPRINT_KEY, SPAN_KEY, URI_KEY
from components.run_report.report import PEAK_BYTES_PROPERTY
from registry.errors import ExpectedError, UsageError
from registry.nearest_names import nearest_names
from registry.provenance import DataOrigin, list_files

StepState = Literal["ran", "cached", "failed", "running"]
Outcome = Literal["pushed", "unchanged", "tuned", "refused", "failed", "stopped", "unfinished"]

RUN_CONTEXT_TYPE = "pipeline_run"
STEP_CONTEXT_TYPE = "node"
_ACCURACY_PROPERTY = "test_accuracy"
_OUTCOME_PROPERTY = "outcome"
_REASON_PROPERTY = "reason"
_DESCRIPTION_PROPERTY = "description"
"""JSON of the settings, the software, and the trials of a search."""
_FILES_PROPERTY = "files"
"""JSON of the size, modification time and SHA-256 of each file, by artifact ID and path in its folder."""
_Files = dict[str, list[int | str]]

_DELETED = metadata_store_pb2.Artifact.DELETED

_STEP_STATES: dict[int, StepState] = {
    metadata_store_pb2.Execution.COMPLETE: "ran",
    metadata_store_pb2.Execution.CACHED: "cached",
    metadata_store_pb2.Execution.FAILED: "failed",
    metadata_store_pb2.Execution.CANCELED: "failed",
}


class MetadataError(ExpectedError):
    """The metadata database of a workspace is damaged; the message names it."""


class UnknownRunError(UsageError):
    """A name fits no run, or several; the message lists the nearest names."""


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        name: Name of the step.
        state: What it did.
        seconds: Its duration.
        execution_id: Its ID in ML Metadata, which is also the name of the folders of its outputs.
        peak_bytes: Peak of the resident memory of the run's processes during the step; None if it was not measured.
    """

    name: str
    state: StepState
    seconds: float
    execution_id: int
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Run:
    """One run of a pipeline.

    Attributes:
        run_id: The ID that TFX assigned, the local start time.
        pipeline: Name of the pipeline.
        started: Local start time.
        seconds: Total duration of its steps.
        steps: Its steps, in execution order.
        outcome: How it ended; `unfinished` if it is running or was killed.
        test_accuracy: Accuracy of its model on the test split, 0 to 1; None if no model was evaluated.
        version: Model version that the run pushed, or reused from an earlier push; None if there is none.
        reason: Why it failed or was stopped.
        settings: All settings by section, with the hyperparameters in `trainer`; empty while the run is unfinished.
        software: Values of `registry.provenance.Software`; None while the run is unfinished.
        is_search: Whether it is a search for hyperparameters; while it is unfinished, known from the step Tuner on.
        trials: The trials behind its hyperparameters, or that the search has completed, best first; see
            `pipeline.settings.tuned.Trial`.
    """

    run_id: str
    pipeline: str
    started: datetime
    seconds: float
    steps: tuple[Step, ...]
    outcome: Outcome
    test_accuracy: float | None
    version: int | None
    reason: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, Any] | None = None
    is_search: bool = False
    trials: Sequence[Mapping[str, Any]] = ()


@contextmanager
def open_metadata(file: Path, *, writable: bool = False) -> Iterator[MetadataStore]:
    """Opens the metadata database of a workspace, an existing SQLite file.

    Raises:
        MetadataError: The file is not a metadata database, or is damaged.
    """
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(file)
    source = metadata_store_pb2.SqliteMetadataSourceConfig
    config.sqlite.connection_mode = source.READWRITE if writable else source.READONLY
    with _explain_damage(file):
        yield MetadataStore(config)


def has_records(file: Path) -> bool:
    """Returns whether the metadata database of a workspace has any records; `file` need not exist.

    First undoes a write that a crash has interrupted, as SQLite does for a connection that may write. ML Metadata fails
    to read such a file.

    Raises:
        MetadataError: The file is not a metadata database, or is damaged.
    """
    if not file.exists():
        return False
    with _explain_damage(file), closing(sqlite3.connect(file)) as connection:
        [[problem]] = connection.execute("PRAGMA quick_check(1)")
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name = 'Execution'")]
        return bool(tables) and bool(list(connection.execute("SELECT id FROM Execution LIMIT 1")))


@contextmanager
def _explain_damage(file: Path) -> Iterator[None]:
    try:
        yield
    # Damaged content may be of any type.
    except (RuntimeError, StatusError, sqlite3.Error, ValueError, StopIteration) as error:
        raise MetadataError(
            f"{file}: cannot be read as a metadata database ({shorten(str(error), 80)}); "
            "if it is damaged, move it away and run again."
        ) from error


def list_runs(file: Path) -> list[Run]:
    """Returns all runs in the metadata database of a workspace, oldest first; none before the first run.

    Raises:
        MetadataError: The file is not a metadata database, or is damaged.
    """
    if not has_records(file):
        return []
    with open_metadata(file) as store:
        contexts = sorted(store.get_contexts_by_type(RUN_CONTEXT_TYPE), key=lambda context: context.id)
        return [_run(store, context) for context in contexts]


def find_run(runs: Sequence[Run], name: str) -> Run:
    """Finds a run by its name.

    Args:
        runs: The runs of a workspace, oldest first.
        name: The number of the version that the run pushed, or the first characters of the run's ID, which is its start
            time; with a space for the T, as `digits runs` shows it, or without.

    Raises:
        UnknownRunError: No run, or more than one, has this name.
    """
    # Later runs that reused the version come after the one that pushed it.
    pushed = [run for run in runs if str(run.version) == name]
    found = pushed[:1] or [run for run in runs if run.run_id.startswith(name.replace(" ", "T"))]
    if len(found) == 1:
        return found[0]
    if found:
        ids = nearest_names(name, [run.run_id for run in found])
        raise UnknownRunError(f"{name!r} fits {len(found)} runs; {ids}; give more characters of the ID.")
    names = dict.fromkeys([run.run_id for run in runs] + [str(run.version) for run in runs if run.version])
    hint = f"{nearest_names(name, names)}; `digits runs --json` lists all" if names else "nothing has run here yet"
    raise UnknownRunError(f"{name!r}: no run has this version number, or an ID that starts like this; {hint}.")


def read_run(store: MetadataStore, run_id: str) -> Run:
    """Returns one run, which must be recorded in `store`."""
    return _run(store, store.get_context_by_type_and_name(RUN_CONTEXT_TYPE, run_id))


def artifact_folders(store: MetadataStore, run_id: str, type_name: str) -> list[str]:
    """Returns the URIs of the artifacts of a type, such as `digits.Report`, that a run created or reused."""
    context = store.get_context_by_type_and_name(RUN_CONTEXT_TYPE, run_id)
    return [artifact.uri for artifact in _artifacts(store, context, type_name)]


def data_origin(store: MetadataStore, run_id: str) -> DataOrigin | None:
    """Returns where the data of a run comes from, or None if it has not read any."""
    context = store.get_context_by_type_and_name(RUN_CONTEXT_TYPE, run_id)
    return next(filter(None, map(data_of, _artifacts(store, context, "Examples"))), None)


def data_of(artifact: metadata_store_pb2.Artifact) -> DataOrigin | None:
    """Returns the data that MnistExampleGen made an artifact from; None for other artifacts."""
    if FINGERPRINT_KEY not in artifact.custom_properties:
        return None
    uri, fingerprint = (artifact.custom_properties[key].string_value for key in (URI_KEY, FINGERPRINT_KEY))
    return DataOrigin(uri=uri, span=artifact.properties[SPAN_KEY].int_value, fingerprint=fingerprint)


def run_outputs(store: MetadataStore, run_id: str) -> dict[tuple[str, str], metadata_store_pb2.Artifact]:
    """Returns the artifacts that a run created or reused, by step and key of the output."""
    context = store.get_context_by_type_and_name(RUN_CONTEXT_TYPE, run_id)
    executions = store.get_executions_by_context(context.id)
    steps = {execution.id: _pipeline_and_step(store, execution.id)[1] for execution in executions}
    artifacts = {artifact.id: artifact for artifact in store.get_artifacts_by_context(context.id)}
    return {
        (steps[event.execution_id], event.path.steps[0].key): artifacts[event.artifact_id]
        for event in store.get_events_by_execution_ids(list(steps))
        if event.type == metadata_store_pb2.Event.OUTPUT and event.artifact_id in artifacts
    }


def check_files(store: MetadataStore, run_id: str) -> Path | None:
    """Checks the files of the artifacts that a run has created or reused, and records the files of new artifacts.

    Returns:
        A file that is missing or has changed since it was recorded, or None.
    """
    context = store.get_context_by_type_and_name(RUN_CONTEXT_TYPE, run_id)
    if context is None:
        return None
    recorded = _recorded_files(store)
    changed = (_changed_file(artifact, recorded) for artifact in store.get_artifacts_by_context(context.id))
    path = next(filter(None, changed), None)
    _record_files(store, context)
    store.put_contexts([context])
    return path


def record_peak_memory(store: MetadataStore, run_id: str, peak_bytes: int) -> None:
    """Records the peak memory of the last step of a run, which must be recorded in `store`."""
    context = store.get_context_by_type_and_name(RUN_CONTEXT_TYPE, run_id)
    execution = max(store.get_executions_by_context(context.id), key=lambda execution: execution.id)
    execution.custom_properties[PEAK_BYTES_PROPERTY].int_value = peak_bytes
    store.put_executions([execution])


def record_outcome(
    store: MetadataStore,
    run_id: str,
    outcome: Outcome,
    test_accuracy: float | None = None,
    description: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Records how a run ended and the files that it wrote; does nothing if no step of the run has started.

    Args:
        store: The database.
        run_id: The run.
        outcome: How it ended.
        test_accuracy: Accuracy of its model, 0 to 1, if it was evaluated.
        description: Values of `Run.settings` and the attributes of `Run` after it, by name.
        reason: Why it failed or was stopped.
    """
    context = store.get_context_by_type_and_name(RUN_CONTEXT_TYPE, run_id)
    if context is None:
        return
    context.custom_properties[_OUTCOME_PROPERTY].string_value = outcome
    context.custom_properties[_REASON_PROPERTY].string_value = reason
    _record_files(store, context)
    if test_accuracy is not None:
        context.custom_properties[_ACCURACY_PROPERTY].double_value = test_accuracy
    if description is not None:
        context.custom_properties[_DESCRIPTION_PROPERTY].string_value = json.dumps(description)
    store.put_contexts([context])


def drop_damaged_artifacts(store: MetadataStore) -> list[Path]:
    """Marks artifacts as deleted if a file is missing or has changed, so that TFX's cache does not use them.

    Returns:
        One missing or changed file of each of these artifacts.
    """
    recorded = _recorded_files(store)
    damaged, paths = [], []
    for artifact in store.get_artifacts_by_id(list(recorded)):
        if artifact.state != _DELETED and (path := _changed_file(artifact, recorded)):
            artifact.state = _DELETED
            damaged.append(artifact)
            paths.append(path)
    store.put_artifacts(damaged)
    return paths


def drop_moved_artifacts(store: MetadataStore, pipeline_root: Path) -> Path | None:
    """Marks artifacts in the workspace that this one was moved or copied from as deleted.

    TFX's cache keys contain the paths of inputs, so new paths for these artifacts would not restore the cache.

    Returns:
        That workspace, or None if there are no such artifacts.
    """
    moved, workspace = [], None
    for artifact in store.get_artifacts():
        # An artifact is in ROOT/STEP/OUTPUT/EXECUTION.
        root = next((path for path in Path(artifact.uri).parents if path.name == pipeline_root.name), pipeline_root)
        if artifact.state != _DELETED and root != pipeline_root:
            artifact.state = _DELETED
            moved.append(artifact)
            workspace = root.parent
    store.put_artifacts(moved)
    return workspace


def live_artifacts(store: MetadataStore) -> Iterator[Path]:
    """Yields the paths of the artifacts that TFX's cache may use."""
    for artifact in store.get_artifacts():
        if artifact.state == metadata_store_pb2.Artifact.LIVE:
            yield Path(artifact.uri)


def _changed_file(artifact: metadata_store_pb2.Artifact, recorded: Mapping[int, _Files]) -> Path | None:
    files = {Path(artifact.uri, path): expected for path, expected in recorded.get(artifact.id, {}).items()}
    return next((path for path, expected in files.items() if not _is_unchanged(path, expected)), None)


def _record_files(store: MetadataStore, context: metadata_store_pb2.Context) -> None:
    # Properties of artifacts are part of TFX's cache keys.
    record = context.custom_properties[_FILES_PROPERTY]
    record.string_value = json.dumps({**json.loads(record.string_value or "{}"), **_new_files(store, context)})


def _recorded_files(store: MetadataStore) -> dict[int, _Files]:
    """Returns a description of the files of all artifacts, by artifact ID and path in its folder."""
    recorded: dict[int, _Files] = {}
    for context in store.get_contexts_by_type(RUN_CONTEXT_TYPE):
        if _FILES_PROPERTY in context.custom_properties:
            files = json.loads(context.custom_properties[_FILES_PROPERTY].string_value)
            recorded |= {int(artifact): described for artifact, described in files.items()}
    return recorded


def _new_files(store: MetadataStore, context: metadata_store_pb2.Context) -> dict[int, _Files]:
    known = _recorded_files(store)
    folders = {
        artifact.id: Path(artifact.uri)
        for artifact in store.get_artifacts_by_context(context.id)
        # A pushed model is verified where it is served.
        if artifact.id not in known and artifact.type != "PushedModel"
    }
    return {
        artifact: {path.as_posix(): _describe(folder / path) for path in list_files(folder)}
        for artifact, folder in folders.items()
        if folder.exists()
    }


def _describe(file: Path) -> list[int | str]:
    status = file.stat()
    with file.open("rb") as content:
        return [status.st_size, status.st_mtime_ns, hashlib.file_digest(content, "sha256").hexdigest()]


def _is_unchanged(file: Path, expected: list[int | str]) -> bool:
    if not file.exists():
        return False
    status = file.stat()
    # As in Git, a file with the same size and time is not read.
    return [status.st_size, status.st_mtime_ns] == expected[:2] or _describe(file)[::2] == expected[::2]


def _run(store: MetadataStore, context: metadata_store_pb2.Context) -> Run:
    executions = sorted(store.get_executions_by_context(context.id), key=lambda execution: execution.id)
    pipeline, steps = "", []
    for execution in executions:
        pipeline, name = _pipeline_and_step(store, execution.id)
        state = _STEP_STATES.get(execution.last_known_state, "running")
        seconds = (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
        peak = execution.custom_properties.get(PEAK_BYTES_PROPERTY)
        steps.append(Step(name, state, seconds, execution.id, peak.int_value if peak else None))
    outcome = context.custom_properties.get(_OUTCOME_PROPERTY)
    accuracy = context.custom_properties.get(_ACCURACY_PROPERTY)
    description = context.custom_properties.get(_DESCRIPTION_PROPERTY)
    pushed = [model.custom_properties["pushed_version"] for model in _artifacts(store, context, "PushedModel")]
    version = pushed[0].string_value if pushed else ""
    return Run(
        run_id=context.name,
        pipeline=pipeline,
        started=datetime.fromisoformat(context.name),
        seconds=sum(step.seconds for step in steps),
        steps=tuple(steps),
        outcome=cast(Outcome, outcome.string_value if outcome else "unfinished"),
        test_accuracy=accuracy.double_value if accuracy else None,
        version=int(version) if version else None,
        reason=context.custom_properties[_REASON_PROPERTY].string_value,
        **{
            "is_search": any(step.name == "Tuner" for step in steps),
            **(json.loads(description.string_value) if description else {}),
        },
    )


def _pipeline_and_step(store: MetadataStore, execution_id: int) -> tuple[str, str]:
    contexts = store.get_contexts_by_execution(execution_id)
    # The context of a step is named PIPELINE.STEP.
    pipeline, _, name = next(each.name for each in contexts if each.type == STEP_CONTEXT_TYPE).partition(".")
    return pipeline, name


def _artifacts(
    store: MetadataStore, context: metadata_store_pb2.Context, type_name: str
) -> list[metadata_store_pb2.Artifact]:
    return [artifact for artifact in store.get_artifacts_by_context(context.id) if artifact.type == type_name]
