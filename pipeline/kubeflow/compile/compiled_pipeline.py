"""Reads a compiled pipeline: its name, version, steps and parameters."""

import hashlib
import re
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from pipeline.kubeflow.compile.parameters import PipelineParameter, WrongDeploymentError

_SCHEMA_VERSION = "2.1.0"
_VERSION_LENGTH = 12
# Source: pipelineNamePattern in backend/src/apiserver/common/utils.go.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_GATE_INPUT = re.compile(r"inputs\.artifacts\['([^']*)'\]\.artifacts\[0\]\.metadata\['passed'\] == 1")


@dataclass(frozen=True)
class CompiledPipeline:
    """A compiled YAML file that Kubeflow Pipelines accepts.

    Attributes:
        content: The file.
        spec: Its pipeline spec, with the keys of KFP's JSON.
    """

    content: bytes
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return str(self.spec["pipelineInfo"]["name"])

    @property
    def version(self) -> str:
        """Name of the version, a digest of the content."""
        return hashlib.sha256(self.content).hexdigest()[:_VERSION_LENGTH]

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps in an order in which they can run."""
        tasks = sorted(self._tasks.items())
        return tuple(TopologicalSorter({name: task.get("dependentTasks", []) for name, task in tasks}).static_order())

    def gates_of(self, step: str) -> tuple[str, ...]:
        """Returns the gates that must pass before `step` runs."""
        task = self._tasks[step]
        artifacts = task.get("inputs", {}).get("artifacts", {})
        keys = _GATE_INPUT.findall(task.get("triggerPolicy", {}).get("condition", ""))
        return tuple(artifacts[key]["taskOutputArtifact"]["producerTask"] for key in keys if key in artifacts)

    @property
    def parameters(self) -> dict[str, PipelineParameter]:
        """The parameters by name."""
        definitions = self.spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
        parameters = {}
        for name, definition in sorted(definitions.items()):
            kind, default = definition.get("parameterType", ""), definition.get("defaultValue")
            # protobuf has no integers here.
            default = int(default) if kind == "NUMBER_INTEGER" and default is not None else default
            parameters[name] = PipelineParameter(name, kind, default=default)
        return parameters

    @property
    def _tasks(self) -> dict[str, Any]:
        tasks: dict[str, Any] = self.spec.get("root", {}).get("dag", {}).get("tasks", {})
        return tasks


def parse_compiled(content: bytes, origin: str) -> CompiledPipeline:
    """Reads a compiled pipeline.

    Args:
        content: One YAML document with the pipeline spec, and optionally one with the platform spec.
        origin: Where the content comes from, for messages.

    Raises:
        WrongDeploymentError: Kubeflow Pipelines would not accept it.
    """
    import yaml
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        documents = [*yaml.safe_load_all(content)]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongDeploymentError(f"{origin}: not valid YAML: {' '.join(str(error).split())}.") from error
    if not all(isinstance(document, dict) for document in documents):
        raise WrongDeploymentError(f"{origin}: not a compiled pipeline; `digits compile` writes one.")
    if any("pipelineSpec" in document for document in documents):
        raise WrongDeploymentError(f"{origin}: is for Vertex AI; compile it without --target vertex.")
    specs = [document for document in documents if "pipelineInfo" in document]
    if len(specs) != 1:
        raise WrongDeploymentError(
            f"{origin}: expected one KFP pipeline spec, found {len(specs)}; `digits compile` writes such a file."
        )
    try:
        message = json_format.ParseDict(specs[0], pipeline_spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
        raise WrongDeploymentError(f"{origin}: not a KFP pipeline spec: {' '.join(str(error).split())}.") from error
    if message.schema_version != _SCHEMA_VERSION:
        raise WrongDeploymentError(
            f"{origin}: schema version {message.schema_version or 'not set'}; Kubeflow Pipelines accepts only "
            f"{_SCHEMA_VERSION}."
        )
    if not _NAME.fullmatch(message.pipeline_info.name):
        raise WrongDeploymentError(
            f"{origin}: pipeline name {message.pipeline_info.name!r}: expected up to 128 lower-case letters, digits "
            "and hyphens, and no hyphen first."
        )
    return CompiledPipeline(content, json_format.MessageToDict(message))
