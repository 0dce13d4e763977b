"""Runs, their steps and what came of them, read out of ML Metadata without loading TFX."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from textwrap import shorten
from typing import Literal, cast

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

StepState = Literal["ran", "cached", "failed", "running"]
Outcome = Literal["pushed", "unchanged", "refused", "failed", "stopped", "unfinished"]

_RUN_CONTEXT_TYPE = "pipeline_run"
_STEP_CONTEXT_TYPE = "node"
_PUSHED_MODEL_TYPE = "PushedModel"
_VERSION_PROPERTY = "pushed_version"
_ACCURACY_PROPERTY = "test_accuracy"
_OUTCOME_PROPERTY = "outcome"

_STEP_STATES: dict[int, StepState] = {
    metadata_store_pb2.Execution.COMPLETE: "ran",
    metadata_store_pb2.Execution.CACHED: "cached",
    metadata_store_pb2.Execution.FAILED: "failed",
    metadata_store_pb2.Execution.CANCELED: "failed",
}


class NoRunsError(LookupError):
    """Nothing has run in a workspace yet; the message says which."""


class MetadataError(RuntimeError):
    """The metadata database of a workspace is damaged; the message says which."""


@dataclass(frozen=True)
class Step:
    """One step of a run, with its duration in seconds."""

    name: str
    state: StepState
    seconds: float


@dataclass(frozen=True)
class Run:
    """One run of a pipeline.

    Attributes:
        run_id: The id that TFX gave it, the local time of its start.
        pipeline: Name of the pipeline.
        started: When it started, local time.
        seconds: How long its steps took together.
        steps: Its steps, in the order in which they ran.
        outcome: What came of it; `unfinished` if it has not come to an end, or never will.
        test_accuracy: Accuracy of its model on test, 0 to 1, if it came to that.
        version: Version of the model that it pushed, or had pushed before; None if none.
    """

    run_id: str
    pipeline: str
    started: datetime
    seconds: float
    steps: tuple[Step, ...]
    outcome: Outcome
    test_accuracy: float | None
    version: int | None


def open_metadata(file: Path, *, writable: bool = False) -> MetadataStore:
    """Opens the metadata database of a workspace.

    Args:
        file: The SQLite file, which must be there.
        writable: Whether it may be written to.

    Raises:
        NoRunsError: There is no such file: nothing has run in this workspace.
        MetadataError: The file is no metadata database.
    """
    if not file.exists():
        raise NoRunsError(f"{file.parent}: no pipeline has run in this workspace yet; start one with `digits run`.")
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(file)
    source = metadata_store_pb2.SqliteMetadataSourceConfig
    config.sqlite.connection_mode = source.READWRITE if writable else source.READONLY
    try:
        return MetadataStore(config)
    except RuntimeError as error:
        raise MetadataError(
            f"{file}: cannot be read as a metadata database ({shorten(str(error), 80)}); "
            "if it is damaged, move it away and run again."
        ) from error


def list_runs(store: MetadataStore) -> list[Run]:
    """Returns all runs of all pipelines of the workspace, the oldest first."""
    return [_run(store, context) for context in _run_contexts(store)]


def newest_run(store: MetadataStore) -> Run:
    """Returns the run that started last.

    Raises:
        LookupError: There is none.
    """
    return _run(store, _newest_context(store))


def newest_artifacts(store: MetadataStore, type_name: str) -> list[metadata_store_pb2.Artifact]:
    """Returns the artifacts of a type that the newest run made, or found in the cache, in the order of its steps.

    Args:
        store: The metadata store.
        type_name: Such as `digits.Verdict`.

    Raises:
        LookupError: There is no run.
    """
    return _outputs(store, _newest_context(store), type_name)


def record_outcome(store: MetadataStore, outcome: Outcome, test_accuracy: float | None = None) -> None:
    """Writes what came of the newest run beside it, for `list_runs`.

    Args:
        store: The metadata store, writable.
        outcome: What came of it.
        test_accuracy: Accuracy of its model on test, 0 to 1, if it came to that.
    """
    context = _newest_context(store)
    context.custom_properties[_OUTCOME_PROPERTY].string_value = outcome
    if test_accuracy is not None:
        context.custom_properties[_ACCURACY_PROPERTY].double_value = test_accuracy
    store.put_contexts([context])


def _run_contexts(store: MetadataStore) -> list[metadata_store_pb2.Context]:
    return sorted(store.get_contexts_by_type(_RUN_CONTEXT_TYPE), key=lambda context: context.id)


def _newest_context(store: MetadataStore) -> metadata_store_pb2.Context:
    contexts = _run_contexts(store)
    if not contexts:
        raise LookupError("There is no run in this metadata store.")
    return contexts[-1]


def _run(store: MetadataStore, context: metadata_store_pb2.Context) -> Run:
    executions = sorted(store.get_executions_by_context(context.id), key=lambda execution: execution.id)
    names = [_pipeline_and_step(store, execution) for execution in executions]
    steps = tuple(_step(name, execution) for (_, name), execution in zip(names, executions, strict=True))
    properties = context.custom_properties
    outcome, accuracy = properties.get(_OUTCOME_PROPERTY), properties.get(_ACCURACY_PROPERTY)
    pushed = _outputs(store, context, _PUSHED_MODEL_TYPE)
    version = pushed[0].custom_properties[_VERSION_PROPERTY].string_value if pushed else ""
    return Run(
        run_id=context.name,
        pipeline=names[0][0] if names else "",
        started=datetime.fromisoformat(context.name),
        seconds=sum(step.seconds for step in steps),
        steps=steps,
        outcome=cast(Outcome, outcome.string_value if outcome else "unfinished"),
        test_accuracy=accuracy.double_value if accuracy else None,
        version=int(version) if version else None,
    )


def _step(name: str, execution: metadata_store_pb2.Execution) -> Step:
    return Step(
        name=name,
        state=_STEP_STATES.get(execution.last_known_state, "running"),
        seconds=(execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000,
    )


def _pipeline_and_step(store: MetadataStore, execution: metadata_store_pb2.Execution) -> tuple[str, str]:
    contexts = store.get_contexts_by_execution(execution.id)
    # The context of a step is named after the pipeline and the step, with a dot between.
    pipeline, _, step = next(each.name for each in contexts if each.type == _STEP_CONTEXT_TYPE).partition(".")
    return pipeline, step


def _outputs(
    store: MetadataStore, context: metadata_store_pb2.Context, type_name: str
) -> list[metadata_store_pb2.Artifact]:
    execution_ids = sorted(execution.id for execution in store.get_executions_by_context(context.id))
    events = store.get_events_by_execution_ids(execution_ids) if execution_ids else []
    made = {event.artifact_id: event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT}
    artifacts = [artifact for artifact in store.get_artifacts_by_id(list(made)) if artifact.type == type_name]
    return sorted(artifacts, key=lambda artifact: made[artifact.id])
