"""Emulates the stores of a cluster: objects as files in a folder, and the metadata of artifacts.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/objectstore, component/launcher_v2.go (LocalPathForURI) and
metadata/client.go (RecordArtifact), converter.go.
"""

import itertools
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.kubeflow.emulator.contract import ContractError

_FOLDERS = {"gs://": "gcs", "minio://": "minio", "s3://": "s3"}
STORE_FOLDERS = tuple(_FOLDERS.values())
"""Folders below the root of every pod, emptyDir volumes on a cluster."""

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


def path_in_pod(uri: str) -> PurePosixPath:
    """Returns the path in a pod for a URI.

    Raises:
        ContractError: The scheme is not gs, minio or s3.
    """
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            return PurePosixPath("/", folder, uri.removeprefix(scheme))
    raise ContractError(f"failed to generate local path for URI {uri}: unsupported storage scheme")


class ObjectStore:
    """Stores objects by URI; folders exist only as parts of names."""

    def __init__(self, folder: Path) -> None:
        """Stores objects as files in a folder."""
        self.folder = folder

    def download(self, uri: str, pod_directory: Path) -> None:
        """Copies all objects below a URI to a pod, without an error if there are none."""
        source, target = self.path(uri), in_directory(pod_directory, path_in_pod(uri))
        if not source.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)

    def upload(self, uri: str, pod_directory: Path, run_root: str) -> bool:
        """Copies the files of a pod to a URI.

        Args:
            uri: The URI.
            pod_directory: Root of the files of the pod.
            run_root: URI of the run; a launcher writes only below it.

        Returns:
            Whether there were any files.

        Raises:
            ContractError: The URI is not below `run_root`.
        """
        if not uri.startswith(f"{run_root}/"):
            raise ContractError(f"URI {uri!r} does not have expected bucket prefix '{run_root}/'")
        source = in_directory(pod_directory, path_in_pod(uri))
        if source.is_file():
            self._put(source, self.path(uri))
        for file in source.rglob("*"):
            if file.is_file():
                self._put(file, self.path(uri) / file.relative_to(source))
        return source.exists()

    def path(self, uri: str) -> Path:
        """Returns the file or folder for a URI."""
        return in_directory(self.folder, path_in_pod(uri))

    @staticmethod
    def _put(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def in_directory(directory: Path, absolute: PurePosixPath) -> Path:
    """Returns the path below a directory for an absolute path of a pod."""
    return directory / absolute.relative_to("/")


@dataclass(frozen=True)
class StoredArtifact:
    """A recorded artifact; all its metadata are custom properties."""

    artifact_id: int
    type_name: str
    uri: str
    properties: Mapping[str, Any]

    def to_runtime(self) -> pipeline_spec_pb2.RuntimeArtifact:
        """Returns the artifact as a consumer receives it: without its type, and with its ID as its name."""
        artifact = pipeline_spec_pb2.RuntimeArtifact(name=str(self.artifact_id), uri=self.uri)
        artifact.type.instance_schema = ""
        artifact.metadata.update(self.properties)
        return artifact


class MetadataStore:
    """Records the artifacts and cached executions of all runs."""

    def __init__(self) -> None:
        """Starts empty."""
        self._ids = itertools.count(1)
        self._cache: dict[tuple[str, str], Mapping[str, StoredArtifact]] = {}

    def record(self, key: str, artifact: pipeline_spec_pb2.RuntimeArtifact) -> StoredArtifact:
        """Records an output.

        Args:
            key: Name of the output.
            artifact: The artifact of the launcher.

        Raises:
            ContractError: The type or a metadata value cannot be recorded.
        """
        properties = {name: _kept(name, value) for name, value in artifact.metadata.fields.items()}
        properties.setdefault("display_name", key)
        properties.setdefault("store_session_info", json.dumps(_SESSION, separators=(",", ":")))
        return StoredArtifact(next(self._ids), _title(key, artifact.type), artifact.uri, properties)

    def cached(self, pipeline: str, fingerprint: str) -> Mapping[str, StoredArtifact] | None:
        """Returns the outputs of the newest execution with a fingerprint."""
        return self._cache.get((pipeline, fingerprint))

    def cache(self, pipeline: str, fingerprint: str, outputs: Mapping[str, StoredArtifact]) -> None:
        """Caches the outputs of an execution."""
        self._cache[pipeline, fingerprint] = outputs


def _title(key: str, schema: pipeline_spec_pb2.ArtifactTypeSchema) -> str:
    if schema.WhichOneof("kind") == "schema_title":
        return schema.schema_title
    title = (yaml.safe_load(schema.instance_schema) or {}).get("title") if schema.instance_schema else None
    if not title:
        raise ContractError(f"unable to produce MLMD artifact for output {key!r}: No title specified")
    return str(title)


def _kept(name: str, value: Value) -> Any:
    """Returns a metadata value as MLMD stores it: no booleans, and wrapped lists and dictionaries."""
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
