"""Emulates the object stores of a cluster, as files in a folder.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/objectstore, config (env.go, minio.go, s3.go, gcs.go) and
component/launcher_v2.go (LocalPathForURI).
"""

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tests.kubeflow.emulator.contract import ContractError

_FOLDERS = {"gs://": "gcs", "minio://": "minio", "s3://": "s3"}
STORE_FOLDERS = tuple(_FOLDERS.values())
"""Folders below the root of every pod, emptyDir volumes on a cluster."""

Session = Mapping[str, Any]
"""How a launcher opens a bucket: `store_session_info` in the metadata."""

_MINIO_SESSION: Session = {
    "Provider": "minio",
    "Params": {
        "accessKeyKey": "accesskey",
        "disableSSL": "true",
        "endpoint": "seaweedfs.kubeflow:9000",
        "fromEnv": "false",
        "maxRetries": "5",
        "region": "minio",
        "secretKeyKey": "secretkey",
        "secretName": "mlpipeline-minio-artifact",
    },
}


def session_of(pipeline_root: str) -> Session:
    """Returns the session of a run, where the ConfigMap `kfp-launcher` has no `providers`."""
    scheme = pipeline_root.partition("://")[0]
    return _MINIO_SESSION if scheme == "minio" else {"Provider": scheme, "Params": {"fromEnv": "true"}}


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

    def opened(self, uri: str, session: Session | None, environment: Mapping[str, str]) -> "ObjectStore":
        """Returns the store that a launcher reaches.

        Args:
            uri: URI of an artifact.
            session: The session for its bucket, if there is one.
            environment: The environment of the launcher, which decides if there is no session with credentials.

        Returns:
            This store, or that of other credentials.

        Raises:
            ContractError: There are no credentials.
        """
        if session is not None and session["Params"]["fromEnv"] == "false":
            return self
        if not uri.startswith("gs://") and (key := environment.get("AWS_ACCESS_KEY_ID")):
            return ObjectStore(self.folder.with_name(f"{self.folder.name}-of-{key}"))
        if uri.startswith("minio://"):
            raise ContractError("failed to list objects in remote storage: no credentials for minio://")
        # The service account of the pod may use them.
        return self

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
