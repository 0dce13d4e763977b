"""Makes, of a run on this machine, what Kubeflow Pipelines would hand over to each of its steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

Json = dict[str, Any]

_VERDICT = "digits.Verdict"
_VERDICT_CLASS = "components.verdict_artifact.VerdictArtifact"
_OUTPUT = metadata_store_pb2.Event.OUTPUT
_PLAIN = ("int_value", "double_value", "string_value")
_PARAMETER_TYPES = {int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", str: "STRING"}


@dataclass(frozen=True)
class StepInput:
    """What a step is given.

    Attributes:
        parameters: Its execution properties.
        inputs: Its input artifacts, by their key, with the path of each below the pipeline root.
        outputs: The titles of the types of its outputs, by their key.
    """

    parameters: Mapping[str, int | float | str]
    inputs: Mapping[str, tuple[str, Json]]
    outputs: Mapping[str, str]

    def spec(self) -> Json:
        """Returns the ComponentInputsSpec of the step."""
        return {
            "artifacts": {key: {"artifactType": artifact["type"]} for key, (_, artifact) in self.inputs.items()},
            "parameters": {
                name: {"parameterType": _PARAMETER_TYPES[type(value)]} for name, value in self.parameters.items()
            },
        }

    def executor_input(self, root: str, output_folder: str, output_file: str) -> Json:
        """Returns the ExecutorInput of the step.

        Args:
            root: URI or path below which the artifacts of the run are.
            output_folder: URI or path of the folder of the outputs.
            output_file: Path of the file for the ExecutorOutput.
        """
        inputs = {key: {**artifact, "uri": f"{root}/{path}"} for key, (path, artifact) in self.inputs.items()}
        outputs = {
            key: {"name": key, "uri": f"{output_folder}/{key}", "type": {"schemaTitle": title}}
            for key, title in self.outputs.items()
        }
        return {
            "inputs": {"parameterValues": dict(self.parameters), "artifacts": _lists(inputs)},
            "outputs": {"artifacts": _lists(outputs), "outputFile": output_file},
        }


def read_steps(workspace: Path) -> dict[str, StepInput]:
    """Reads the steps of the only run of a workspace.

    Args:
        workspace: The workspace.

    Returns:
        What each step was given, by its id.
    """
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(workspace / "metadata.sqlite")
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = MetadataStore(config)
    return {
        _step_id(store, execution): _step_input(store, execution, workspace) for execution in store.get_executions()
    }


def _step_id(store: MetadataStore, execution: metadata_store_pb2.Execution) -> str:
    [node] = [context.name for context in store.get_contexts_by_execution(execution.id) if context.type == "node"]
    return str(node.partition(".")[2])


def _step_input(store: MetadataStore, execution: metadata_store_pb2.Execution, workspace: Path) -> StepInput:
    inputs, outputs = {}, {}
    for event in store.get_events_by_execution_ids([execution.id]):
        [artifact] = store.get_artifacts_by_id([event.artifact_id])
        key = event.path.steps[0].key
        title = _VERDICT_CLASS if artifact.type == _VERDICT else f"tfx.{artifact.type}"
        if event.type == _OUTPUT:
            outputs[key] = title
        elif not key.startswith("_"):
            metadata = {**_values(artifact.properties), **_values(artifact.custom_properties)}
            described = {"name": str(artifact.id), "type": {"schemaTitle": title}, "metadata": metadata}
            inputs[key] = Path(artifact.uri).relative_to(workspace / "pipeline_root").as_posix(), described
    parameters = _values(execution.custom_properties)
    return StepInput({name: parameters[name] for name in parameters if not name.startswith("__")}, inputs, outputs)


def _values(properties: Mapping[str, metadata_store_pb2.Value]) -> Json:
    kinds = {name: value.WhichOneof("value") for name, value in properties.items()}
    return {name: getattr(properties[name], kind) for name, kind in kinds.items() if kind in _PLAIN}


def _lists(artifacts: Mapping[str, Json]) -> Json:
    return {key: {"artifacts": [artifact]} for key, artifact in artifacts.items()}
