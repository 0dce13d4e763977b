"""What Kubeflow Pipelines keeps of artifacts, and what is lost and added when it hands them to the next task.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/metadata/client.go (RecordArtifact) and converter.go.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.kubeflow.emulator.contract import ContractError

_SESSION = {
    "Provider": "minio",
    "Params": {
        "accessKeyKey": "accesskey",
        "disableSSL": "true",
        "endpoint": "seaweedfs.kubeflow:9000",
        "fromEnv": "false",
        "region": "minio",
        "secretKeyKey": "secretkey",
        "secretName": "mlpipeline-minio-artifact",
    },
}


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact on record: all its metadata are custom properties, whatever they were before."""

    artifact_id: int
    type_name: str
    uri: str
    properties: Mapping[str, Any]

    def to_runtime(self) -> pipeline_spec_pb2.RuntimeArtifact:
        """Returns it in the form in which a consumer is given it: without its type, named by its id."""
        artifact = pipeline_spec_pb2.RuntimeArtifact(name=str(self.artifact_id), uri=self.uri)
        artifact.type.instance_schema = ""
        artifact.metadata.update(self.properties)
        return artifact


class MetadataStore:
    """Artifacts and cached executions of all runs."""

    def __init__(self) -> None:
        """Starts empty."""
        self._ids = itertools.count(1)
        self._cache: dict[tuple[str, str], Mapping[str, StoredArtifact]] = {}

    def record(self, key: str, artifact: pipeline_spec_pb2.RuntimeArtifact) -> StoredArtifact:
        """Puts an output on record.

        Args:
            key: Name of the output.
            artifact: What the launcher knows of it.

        Raises:
            ContractError: A metadata value or the type is nothing that can be kept.
        """
        properties = {name: _kept(name, value) for name, value in artifact.metadata.fields.items()}
        properties.setdefault("display_name", key)
        properties.setdefault("store_session_info", json.dumps(_SESSION, separators=(",", ":")))
        return StoredArtifact(next(self._ids), _title(key, artifact.type), artifact.uri, properties)

    def cached(self, pipeline: str, fingerprint: str) -> Mapping[str, StoredArtifact] | None:
        """Returns the outputs of the newest execution with a fingerprint."""
        return self._cache.get((pipeline, fingerprint))

    def cache(self, pipeline: str, fingerprint: str, outputs: Mapping[str, StoredArtifact]) -> None:
        """Keeps the outputs of an execution for the next one with that fingerprint."""
        self._cache[pipeline, fingerprint] = outputs


def _title(key: str, schema: pipeline_spec_pb2.ArtifactTypeSchema) -> str:
    if schema.WhichOneof("kind") == "schema_title":
        return schema.schema_title
    title = (yaml.safe_load(schema.instance_schema) or {}).get("title") if schema.instance_schema else None
    if not title:
        raise ContractError(f"unable to produce MLMD artifact for output {key!r}: No title specified")
    return str(title)


def _kept(name: str, value: Value) -> Any:
    """Returns a metadata value as MLMD has it: no booleans, and lists and dictionaries in a wrapper."""
    match value.WhichOneof("kind"):
        case "bool_value":
            return float(value.bool_value)
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "list_value":
            return {"list": json_format.MessageToDict(value.list_value)}
        case "struct_value":
            return {"struct": json_format.MessageToDict(value.struct_value)}
        case kind:
            raise ContractError(
                f"failed to convert RuntimeArtifact to MLMD artifact: {name}: unknown/unsupported value type {kind}"
            )
