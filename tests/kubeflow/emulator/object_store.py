"""The object store of a cluster, as a folder, with what the launcher does to it.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/objectstore and component/launcher_v2.go (LocalPathForURI).
"""

import shutil
from pathlib import Path, PurePosixPath

from tests.kubeflow.emulator.contract import ContractError

_FOLDERS = {"gs://": "gcs", "minio://": "minio", "s3://": "s3"}
STORE_FOLDERS = tuple(_FOLDERS.values())
"""Below the root of every pod: emptyDir volumes."""


def path_in_pod(uri: str) -> PurePosixPath:
    """Returns where a pod finds, or leaves, what is stored at a URI.

    Raises:
        ContractError: The URI has another scheme than gs, minio or s3.
    """
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            return PurePosixPath("/", folder, uri.removeprefix(scheme))
    raise ContractError(f"failed to generate local path for URI {uri}: unsupported storage scheme")


class ObjectStore:
    """Objects by URI; there are no folders in it but as parts of names."""

    def __init__(self, folder: Path) -> None:
        """Keeps the objects as files in a folder."""
        self.folder = folder

    def download(self, uri: str, pod_directory: Path) -> None:
        """Copies all objects below a URI into a pod; where there are none, nothing comes to be, and nothing fails."""
        source, target = self.path(uri), in_directory(pod_directory, path_in_pod(uri))
        if not source.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)

    def upload(self, uri: str, pod_directory: Path, run_root: str) -> bool:
        """Copies what a pod left for a URI into the store.

        Args:
            uri: Where to.
            pod_directory: Root of the pod's files.
            run_root: URI of the run; a launcher writes nowhere else.

        Returns:
            Whether there was anything.

        Raises:
            ContractError: The URI is not below that of the run.
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
        """Returns the file or folder that holds what is stored at a URI."""
        return in_directory(self.folder, path_in_pod(uri))

    @staticmethod
    def _put(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def in_directory(directory: Path, absolute: PurePosixPath) -> Path:
    """Returns an absolute path of a pod as a path below a directory."""
    return directory / absolute.relative_to("/")
