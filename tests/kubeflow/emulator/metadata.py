"""Emulates the metadata of Kubeflow Pipelines: ML Metadata with the types, contexts, events and properties of KFP.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/metadata (client.go, converter.go, model.go), driver/root_dag.go and
cacheutils/cache.go.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from threading import RLock
from typing import Any, Literal

import yaml
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct, Value
from kfp.pipeline_spec import pipeline_spec_pb2
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from tests.kubeflow.emulator.contract import ContractError
from tests.kubeflow.emulator.stores import Session

State = Literal["succeeded", "cached", "skipped", "omitted", "failed", "running"]

_PIPELINE, _RUN = "system.Pipeline", "system.PipelineRun"
_DAG, _CONTAINER = "system.DAGExecution", "system.ContainerExecution"
_EXECUTION_STATES: Mapping[State, int] = {
    "succeeded": metadata_store_pb2.Execution.COMPLETE,
    "cached": metadata_store_pb2.Execution.CACHED,
    "skipped": metadata_store_pb2.Execution.CANCELED,
    "failed": metadata_store_pb2.Execution.FAILED,
    "running": metadata_store_pb2.Execution.RUNNING,
}


@dataclass(frozen=True)
class StoredArtifact:
    """A recorded artifact."""

    record: metadata_store_pb2.Artifact

    @property
    def artifact_id(self) -> int:
        """Its ID in ML Metadata."""
        return int(self.record.id)

    @property
    def uri(self) -> str:
        """Its URI in the object store."""
        return str(self.record.uri)

    @property
    def properties(self) -> dict[str, Any]:
        """Its metadata, as a consumer receives them."""
        return json_format.MessageToDict(self.to_runtime().metadata)

    def to_runtime(self) -> pipeline_spec_pb2.RuntimeArtifact:
        """Returns the artifact as a consumer receives it: without its type, and with its ID as its name."""
        artifact = pipeline_spec_pb2.RuntimeArtifact(name=str(self.artifact_id), uri=self.uri)
        artifact.type.instance_schema = ""
        for name, value in self.record.custom_properties.items():
            match value.WhichOneof("value"):
                case "string_value":
                    artifact.metadata.fields[name].string_value = value.string_value
                case "struct_value":
                    artifact.metadata.fields[name].struct_value.CopyFrom(value.struct_value)
                case kind:
                    artifact.metadata.fields[name].number_value = getattr(value, str(kind))
        return artifact


@dataclass(frozen=True)
class Run:
    """A run, as drivers and launchers read it from ML Metadata."""

    pipeline: metadata_store_pb2.Context
    context: metadata_store_pb2.Context
    dag: metadata_store_pb2.Execution

    @property
    def run_id(self) -> str:
        """The ID of the run."""
        return str(self.context.name)

    @property
    def root(self) -> str:
        """URI of the folder that the run writes to."""
        return str(self.context.custom_properties["pipeline_root"].string_value)

    @property
    def session(self) -> Session:
        """How launchers open the bucket of `root`."""
        session: Session = json.loads(self.context.custom_properties["store_session_info"].string_value)
        return session

    @property
    def parameters(self) -> Mapping[str, Value]:
        """The parameters of the run."""
        return self.dag.custom_properties["inputs"].struct_value.fields


class Metadata:
    """Records runs, executions and artifacts, and finds cached executions."""

    def __init__(self, store: MetadataStore | None = None) -> None:
        """Uses a store; by default an empty one in memory."""
        self._store = store or MetadataStore(
            metadata_store_pb2.ConnectionConfig(fake_database=metadata_store_pb2.FakeDatabaseConfig())
        )
        self._lock = RLock()
        # The API server keeps them in its own database, with the ID of the execution.
        self._cache: dict[tuple[str, str], int] = {}

    def start_run(
        self, pipeline: str, run_id: str, pipeline_root: str, session: Session, parameters: Mapping[str, Value]
    ) -> Run:
        """Records a run, as the driver of the root does."""
        with self._lock:
            pipeline_context = self._context(_PIPELINE, pipeline)
            context = self._context(
                _RUN,
                run_id,
                namespace="kubeflow",
                resource_name="run-resource",
                pipeline_root=f"{pipeline_root}/{pipeline}/{run_id}",
                store_session_info=json.dumps(session, separators=(",", ":")),
            )
            parent = metadata_store_pb2.ParentContext(child_id=context.id, parent_id=pipeline_context.id)
            self._store.put_parent_contexts([parent])
            dag = self._execution(_DAG, parameters, display_name="", task_name="")
            dag.name = f"run/{run_id}"
            dag_id, _, _ = self._store.put_execution(dag, [], [pipeline_context, context])
            [dag] = self._store.get_executions_by_id([dag_id])
        return Run(pipeline_context, context, dag)

    def create_execution(
        self,
        run: Run,
        task: str,
        inputs: pipeline_spec_pb2.ExecutorInput.Inputs,
        *,
        is_triggered: bool,
        fingerprint: str = "",
        cached_execution: int | None = None,
    ) -> int:
        """Records an execution, as the driver of a task does; returns its ID."""
        texts = {"display_name": task, "task_name": task, "pod_name": "", "pod_uid": "", "namespace": "", "image": ""}
        if cached_execution is not None:
            texts["cached_execution_id"] = str(cached_execution)
        if fingerprint:
            texts["cache_fingerprint"] = fingerprint
        with self._lock:
            execution = self._execution(_CONTAINER, inputs.parameter_values, **texts)
            execution.custom_properties["parent_dag_id"].int_value = run.dag.id
            execution.last_known_state = _EXECUTION_STATES["running" if is_triggered else "skipped"]
            events = []
            for name, found in inputs.artifacts.items():
                for artifact in self._store.get_artifacts_by_id([int(item.name) for item in found.artifacts]):
                    events.append((artifact, _event(name, artifact.id, metadata_store_pb2.Event.INPUT)))
            execution_id, _, _ = self._store.put_execution(execution, events, [run.pipeline, run.context])
        return int(execution_id)

    def set_pod(self, execution_id: int, pod: str) -> None:
        """Records the pod of an execution, as the launcher does first."""
        with self._lock:
            [execution] = self._store.get_executions_by_id([execution_id])
            for name, text in (("pod_name", pod), ("pod_uid", pod), ("namespace", "kubeflow")):
                execution.custom_properties[name].string_value = text
            execution.last_known_state = metadata_store_pb2.Execution.RUNNING
            self._store.put_execution(execution, [], [])

    def record(self, key: str, artifact: pipeline_spec_pb2.RuntimeArtifact, session: Session) -> StoredArtifact:
        """Records an output.

        Args:
            key: Name of the output.
            artifact: The artifact of the launcher.
            session: How the launcher opened its bucket.

        Raises:
            ContractError: The type or a metadata value cannot be recorded.
        """
        record = metadata_store_pb2.Artifact(uri=artifact.uri, state=metadata_store_pb2.Artifact.LIVE)
        for name, value in artifact.metadata.fields.items():
            record.custom_properties[name].CopyFrom(_kept(name, value))
        for name, text in (
            ("display_name", key),
            ("store_session_info", json.dumps(session, separators=(",", ":"))),
        ):
            if name not in record.custom_properties:
                record.custom_properties[name].string_value = text
        title = _title(key, artifact.type)
        with self._lock:
            record.type_id = self._store.put_artifact_type(metadata_store_pb2.ArtifactType(name=title))
            [record.id] = self._store.put_artifacts([record])
        return StoredArtifact(record)

    def publish(self, run: Run, execution_id: int, state: State, outputs: Mapping[str, StoredArtifact]) -> None:
        """Records the end of an execution; a successful one with a fingerprint is cached."""
        events = [
            (output.record, _event(key, output.artifact_id, metadata_store_pb2.Event.OUTPUT))
            for key, output in outputs.items()
        ]
        with self._lock:
            [execution] = self._store.get_executions_by_id([execution_id])
            execution.last_known_state = _EXECUTION_STATES[state]
            self._store.put_execution(execution, events, [run.pipeline, run.context])
            fingerprint = execution.custom_properties["cache_fingerprint"].string_value
            if state == "succeeded" and fingerprint:
                self._cache[run.pipeline.name, fingerprint] = execution_id

    def cached(self, pipeline: str, fingerprint: str) -> int | None:
        """Returns the newest execution with a fingerprint."""
        return self._cache.get((pipeline, fingerprint))

    def outputs(self, execution_id: int) -> dict[str, StoredArtifact]:
        """Returns the outputs of an execution."""
        with self._lock:
            events = self._store.get_events_by_execution_ids([execution_id])
            keys = {
                event.artifact_id: event.path.steps[0].key
                for event in events
                if event.type == metadata_store_pb2.Event.OUTPUT
            }
            return {keys[item.id]: StoredArtifact(item) for item in self._store.get_artifacts_by_id(list(keys))}

    def execution(self, execution_id: int) -> metadata_store_pb2.Execution:
        """Returns an execution."""
        with self._lock:
            [execution] = self._store.get_executions_by_id([execution_id])
        return execution

    def executions(self, run: Run) -> dict[str, metadata_store_pb2.Execution]:
        """Returns the executions of a run by task."""
        return self._executions(run.context.id)

    def tasks(self, run_id: str) -> dict[str, tuple[State, dict[str, StoredArtifact]]]:
        """Returns the states and outputs of the tasks of a run; those whose driver did not run are missing."""
        states = {number: state for state, number in _EXECUTION_STATES.items()}
        with self._lock:
            executions = self._executions(self._store.get_context_by_type_and_name(_RUN, run_id).id)
        return {name: (states[each.last_known_state], self.outputs(each.id)) for name, each in executions.items()}

    def _executions(self, context_id: int) -> dict[str, metadata_store_pb2.Execution]:
        executions: dict[str, metadata_store_pb2.Execution] = {}
        with self._lock:
            for execution in self._store.get_executions_by_context(context_id):
                if "parent_dag_id" in execution.custom_properties:
                    name = execution.custom_properties["task_name"].string_value
                    if name in executions:
                        raise ContractError(f"two tasks have the same task name {name!r}")
                    executions[name] = execution
        return executions

    def _context(self, type_name: str, name: str, **texts: str) -> metadata_store_pb2.Context:
        found = self._store.get_context_by_type_and_name(type_name, name)
        if found is not None:
            return found
        type_id = self._store.put_context_type(metadata_store_pb2.ContextType(name=type_name))
        context = metadata_store_pb2.Context(type_id=type_id, name=name)
        for key, text in texts.items():
            context.custom_properties[key].string_value = text
        [context.id] = self._store.put_contexts([context])
        return context

    def _execution(self, type_name: str, parameters: Mapping[str, Value], **texts: str) -> metadata_store_pb2.Execution:
        type_id = self._store.put_execution_type(metadata_store_pb2.ExecutionType(name=type_name))
        execution = metadata_store_pb2.Execution(type_id=type_id, last_known_state=metadata_store_pb2.Execution.RUNNING)
        for name, text in texts.items():
            execution.custom_properties[name].string_value = text
        execution.custom_properties["inputs"].struct_value.CopyFrom(Struct(fields=parameters))
        return execution


def _event(name: str, artifact_id: int, kind: int) -> metadata_store_pb2.Event:
    event = metadata_store_pb2.Event(artifact_id=artifact_id, type=kind)
    event.path.steps.add(key=name)
    return event


def _title(key: str, schema: pipeline_spec_pb2.ArtifactTypeSchema) -> str:
    if schema.WhichOneof("kind") == "schema_title":
        return str(schema.schema_title)
    title = (yaml.safe_load(schema.instance_schema) or {}).get("title") if schema.instance_schema else None
    if not title:
        raise ContractError(f"unable to produce MLMD artifact for output {key!r}: No title specified")
    return str(title)


def _kept(name: str, value: Value) -> metadata_store_pb2.Value:
    """Returns a metadata value as ML Metadata stores it: no booleans, and wrapped lists and dictionaries."""
    match value.WhichOneof("kind"):
        case "bool_value":
            return metadata_store_pb2.Value(int_value=int(value.bool_value))
        case "number_value":
            return metadata_store_pb2.Value(double_value=value.number_value)
        case "string_value":
            return metadata_store_pb2.Value(string_value=value.string_value)
        case "list_value":
            return metadata_store_pb2.Value(struct_value=Struct(fields={"list": value}))
        case "struct_value":
            return metadata_store_pb2.Value(struct_value=Struct(fields={"struct": value}))
        case kind:
            raise ContractError(
                f"failed to convert RuntimeArtifact to MLMD artifact: {name}: unknown/unsupported value type {kind}"
            )
