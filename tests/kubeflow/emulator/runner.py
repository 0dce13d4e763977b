"""How the command of a pod is run: as a process of this machine, or any other way that keeps to `Runner`."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from tests.kubeflow.emulator.compiled_pipeline import VolumeMount
from tests.kubeflow.emulator.object_store import STORE_FOLDERS

PROJECT_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Pod:
    """One attempt of a task, ready to be started.

    Attributes:
        task: Name of the task.
        attempt: 0 for the first, 1 for the first retry and so on.
        directory: Folder of its own that holds `minio`, `s3` and `gcs`, which the pod has at `/minio`, `/s3` and
            `/gcs`: the inputs are there already, and of the outputs the parent folders. Removed when the pod ends.
        image: Reference of the image.
        command: Program and arguments, without placeholders.
        environment: Variables that the cluster or the compiled pipeline sets.
        mounts: The claims that it mounts.
    """

    task: str
    attempt: int
    directory: Path
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[VolumeMount, ...]


class PodLostError(Exception):
    """The pod ended before the launcher could do anything after the command; a runner raises this to play it."""


class Runner(Protocol):
    """What starts a pod; the one thing that differs between processes and containers."""

    def run(self, pod: Pod, log: IO[bytes]) -> int:
        """Runs the command of a pod to its end.

        Args:
            pod: What to run; `pod.directory` stays as the command leaves it.
            log: Where everything goes that the command prints, on either stream.

        Returns:
            The exit status.

        Raises:
            PodLostError: Command and launcher ended with the pod.
        """


class ProcessRunner:
    """Runs the command as a process with this interpreter, where the image would be.

    The process finds the pod's folders below `--pod_root`, which is added to its arguments. It works in an empty
    folder of the pod and is given nothing of the caller's environment that an image would not have.
    """

    def run(self, pod: Pod, log: IO[bytes]) -> int:
        """See `Runner`."""
        for folder in ("tmp", "home", "work"):
            (pod.directory / folder).mkdir()
        for mount in pod.mounts:
            Path(mount.mount_path).mkdir(parents=True, exist_ok=True)
        environment = {
            **pod.environment,
            "HOME": str(pod.directory / "home"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
            "PYTHONPATH": str(PROJECT_ROOT),
            "TMPDIR": str(pod.directory / "tmp"),
        }
        command = [*pod.command, f"--pod_root={pod.directory}"]
        process = subprocess.run(
            command, cwd=pod.directory / "work", env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        )
        return process.returncode


def make_pod_folders(directory: Path) -> None:
    """Makes the empty folders that every pod has."""
    for folder in STORE_FOLDERS:
        (directory / folder).mkdir(parents=True)
