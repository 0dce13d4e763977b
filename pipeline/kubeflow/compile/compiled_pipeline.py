"""A compiled pipeline as Kubeflow Pipelines gets it: its name, its version and its parameters."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow.deploy.arguments import PipelineInput
from pipeline.kubeflow.deploy.errors import WrongDeploymentError

if TYPE_CHECKING:
    from kfp.pipeline_spec import pipeline_spec_pb2

_SCHEMA_VERSION = "2.1.0"
_VERSION_LENGTH = 12
# Source: pipelineNamePattern in backend/src/apiserver/common/utils.go.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_CONDITION_INPUT = re.compile(r"inputs\.artifacts\['([^']*)'\]")


@dataclass(frozen=True)
class CompiledPipeline:
    """The content of a compiled YAML file, found to be one."""

    content: bytes
    spec: "pipeline_spec_pb2.PipelineSpec"

    @property
    def name(self) -> str:
        """Its name, and that of the pipeline in the UI."""
        return str(self.spec.pipeline_info.name)

    @property
    def version(self) -> str:
        """The name of the version: the same content has the same."""
        return hashlib.sha256(self.content).hexdigest()[:_VERSION_LENGTH]

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the tasks, each after those that it waits for."""
        tasks = self.spec.root.dag.tasks
        sorter = TopologicalSorter({name: sorted(tasks[name].dependent_tasks) for name in sorted(tasks)})
        return tuple(sorter.static_order())

    def gates_of(self, step: str) -> tuple[str, ...]:
        """Returns the steps whose output decides whether `step` runs."""
        task = self.spec.root.dag.tasks[step]
        artifacts = task.inputs.artifacts
        keys = _CONDITION_INPUT.findall(task.trigger_policy.condition)
        return tuple(artifacts[key].task_output_artifact.producer_task for key in keys if key in artifacts)

    @property
    def parameters(self) -> dict[str, PipelineInput]:
        """The inputs by name."""
        from google.protobuf import json_format

        definitions = {}
        for name, definition in sorted(self.spec.root.input_definitions.parameters.items()):
            kind = type(definition).DESCRIPTOR.fields_by_name["parameter_type"].enum_type
            default = json_format.MessageToDict(definition).get("defaultValue")
            kind_name = kind.values_by_number[definition.parameter_type].name
            if kind_name == "NUMBER_INTEGER" and default is not None:
                default = int(default)
            definitions[name] = PipelineInput(name, kind_name, default)
        return definitions


def read_compiled(file: Path) -> CompiledPipeline:
    """Reads a compiled pipeline from a file.

    Raises:
        WrongDeploymentError: The file cannot be read, or holds no pipeline that Kubeflow Pipelines takes.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise WrongDeploymentError(f"{file}: cannot be read: {error.strerror}.") from error
    return parse_compiled(content, str(file))


def parse_compiled(content: bytes, origin: str) -> CompiledPipeline:
    """Reads a compiled pipeline.

    Args:
        content: One YAML document with the pipeline spec, and optionally one with the platform spec.
        origin: Where it comes from, for messages.

    Raises:
        WrongDeploymentError: It is not one that Kubeflow Pipelines takes.
    """
    documents = [*_documents(content, origin)]
    if any("pipelineSpec" in document for document in documents):
        raise WrongDeploymentError(f"{origin}: is for Vertex AI; compile it without --target vertex.")
    specs = [document for document in documents if "pipelineInfo" in document]
    if len(specs) != 1:
        raise WrongDeploymentError(
            f"{origin}: expected one KFP pipeline spec, found {len(specs)}; `digits compile` writes such a file."
        )
    spec = parse_spec(specs[0], origin)
    if spec.schema_version != _SCHEMA_VERSION:
        raise WrongDeploymentError(
            f"{origin}: schema version {spec.schema_version or 'not stated'}; Kubeflow Pipelines takes only "
            f"{_SCHEMA_VERSION}."
        )
    if not _NAME.fullmatch(spec.pipeline_info.name):
        raise WrongDeploymentError(
            f"{origin}: pipeline name {spec.pipeline_info.name!r}: expected up to 128 lower-case letters, digits and "
            "hyphens, the first no hyphen."
        )
    return CompiledPipeline(content, spec)


def parse_spec(values: Mapping[str, Any], origin: str) -> "pipeline_spec_pb2.PipelineSpec":
    """Makes a pipeline spec of its JSON values.

    Raises:
        WrongDeploymentError: A field is unknown or has a wrong type.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        return json_format.ParseDict(values, pipeline_spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
        raise WrongDeploymentError(f"{origin}: not a KFP pipeline spec: {' '.join(str(error).split())}.") from error


def _documents(content: bytes, origin: str) -> Iterator[dict[str, Any]]:
    import yaml

    try:
        for document in yaml.safe_load_all(content):
            if not isinstance(document, dict):
                raise WrongDeploymentError(f"{origin}: not a compiled pipeline; `digits compile` writes one.")
            yield document
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongDeploymentError(f"{origin}: not valid YAML: {' '.join(str(error).split())}.") from error
