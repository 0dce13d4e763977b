"""Runs the pods of the emulated cluster as containers."""

import subprocess
from pathlib import Path
from typing import IO

from tests.containers.engine import CONFINED, Engine, user
from tests.kubeflow.emulator.launcher import Pod
from tests.kubeflow.emulator.stores import STORE_FOLDERS


class ContainerRunner:
    """Runs the command of a pod in its image, with the mounts of Kubeflow only."""

    def __init__(self, engine: Engine, claims: Path) -> None:
        """Stores each claim in a subfolder of `claims`."""
        self._engine = engine
        self._claims = claims

    def run(self, pod: Pod, log: IO[bytes]) -> int:
        """See `Runner`."""
        # On a cluster, the launcher creates these folders as the user of the pod.
        for path in (pod.directory, *pod.directory.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        volumes = {pod.directory / folder: f"/{folder}" for folder in STORE_FOLDERS}
        for mount in pod.mounts:
            claim = self._claims / mount.claim
            claim.mkdir(parents=True, exist_ok=True)
            claim.chmod(0o777)
            volumes[claim] = mount.mount_path
        options = [f"--volume={source}:{target}" for source, target in volumes.items()]
        options += [f"--env={name}={value}" for name, value in pod.environment.items()]
        command = [
            self._engine.command,
            "run",
            "--rm",
            *CONFINED,
            f"--user={user()}",
            *options,
            pod.image,
            *pod.command,
        ]
        process = subprocess.run(
            command, env=self._engine.environment, stdout=log, stderr=subprocess.STDOUT, check=False
        )
        return process.returncode
