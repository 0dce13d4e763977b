"""Docker or podman, whichever can be used; podman with stores and settings that are gone afterwards."""

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NEEDED_GIGABYTES = 15
CONFINED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=none")
"""Options of a container that can do no more than a pod of a careful cluster."""

# Of programs in images, which trust a proxy of the host's if the host does.
_HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_MOST = 16384


class NoEngineError(Exception):
    """Nothing here can build and run images; the message says what is missing."""


@dataclass(frozen=True)
class Engine:
    """What builds and runs images.

    Attributes:
        command: `docker` or `podman`.
        environment: Variables with which the command, and `make image`, find its stores.
    """

    command: str
    environment: Mapping[str, str]

    def run(self, *arguments: str | Path, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command of the engine to its end, whatever that is.

        Args:
            arguments: Such as `run`, `--rm`, the image and what it is to do.
            timeout: Seconds.

        Returns:
            Its exit status and what it wrote.

        Raises:
            subprocess.TimeoutExpired: It took longer.
        """
        command = [self.command, *map(str, arguments)]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout
        )

    def output(self, *arguments: str | Path) -> str:
        """Runs a command of the engine that has to succeed.

        Args:
            arguments: As for `run`.

        Returns:
            What it wrote to standard output.

        Raises:
            AssertionError: It failed.
        """
        process = self.run(*arguments)
        assert process.returncode == 0, f"{self.command} {' '.join(map(str, arguments))}\n{process.stderr}"
        return process.stdout


def require_containers(engine: Engine, image: str) -> None:
    """Makes sure that containers can be started at all, which some machines forbid.

    Raises:
        NoEngineError: They cannot; the message has the engine's own reason.
    """
    process = engine.run("run", "--rm", image, "true")
    if process.returncode:
        reason = process.stderr.strip().splitlines()[-1:]
        raise NoEngineError(f"{engine.command} is here, but can start no container: {' '.join(reason)}")


def user() -> str:
    """Returns a user and group for a container; where somebody's files could be in the way, that somebody."""
    return f"{os.getuid() or 12345}:0"


@contextmanager
def open_engine() -> Iterator[Engine]:
    """Finds Docker, else podman.

    Raises:
        NoEngineError: Neither can be used here.
    """
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        yield Engine("docker", dict(os.environ))
        return
    if shutil.which("podman") is None:
        raise NoEngineError("neither Docker with a running engine nor podman; .ci/run installs Debian's podman")
    if os.getuid() != 0:
        raise NoEngineError("no running Docker engine; these tests use podman as root only")
    folder = Path(tempfile.mkdtemp(prefix="digits-containers-"))
    try:
        free = shutil.disk_usage(folder).free / 1e9
        if free < NEEDED_GIGABYTES:
            raise NoEngineError(f"{free:.0f} GB free in {folder.parent}, {NEEDED_GIGABYTES} are needed; set TMPDIR")
        yield Engine("podman", {**os.environ, **_configure_podman(folder)})
    finally:
        _remove(folder)


def _configure_podman(folder: Path) -> dict[str, str]:
    """Writes settings with which podman also runs inside a container or a machine without systemd."""
    for name in ("tmp", "networks", "uv"):
        (folder / name).mkdir()
    storage = ["[storage]", 'driver = "overlay"', f'graphroot = "{folder}/storage"', f'runroot = "{folder}/run"']
    # Neither bridges nor rules of a firewall, which would stay.
    containers = ["[containers]", 'netns = "host"', f"default_ulimits = {_limits()}"]
    if _HOST_CERTIFICATES.exists():
        (folder / "uv" / "uv.toml").write_text("system-certs = true\n", encoding="utf-8")
        mounts = [f"{_HOST_CERTIFICATES}:{_HOST_CERTIFICATES}:ro", f"{folder}/uv:/etc/uv:ro"]
        containers.append(f"volumes = {mounts}")
    containers += ["[engine]", 'cgroup_manager = "cgroupfs"', 'events_logger = "file"', f'tmp_dir = "{folder}/run/tmp"']
    containers += [f'volume_path = "{folder}/volumes"', f'image_copy_tmp_dir = "{folder}/tmp"']
    if shutil.which("runc"):
        # Debian 12's crun cannot start anything where version 1 and 2 of cgroups are both in use.
        containers.append('runtime = "runc"')
    containers += ["[network]", f'network_config_dir = "{folder}/networks"']
    (folder / "storage.conf").write_text("\n".join(storage), encoding="utf-8")
    (folder / "containers.conf").write_text("\n".join(containers), encoding="utf-8")
    return {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "TMPDIR": str(folder / "tmp"),
    }


def _limits() -> list[str]:
    """Limits of processes and files that may be set without the right to raise any."""
    hard = {
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "nproc": resource.getrlimit(resource.RLIMIT_NPROC)[1],
    }
    allowed = {name: _MOST if limit == resource.RLIM_INFINITY else min(limit, _MOST) for name, limit in hard.items()}
    return [f"{name}={limit}:{limit}" for name, limit in allowed.items()]


def _remove(folder: Path) -> None:
    if (folder / "storage.conf").exists():
        environment = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
        }
        command = ["podman", "rm", "--all", "--force", "--time", "0"]
        subprocess.run(command, env=environment, capture_output=True, check=False)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        subprocess.run(["umount", mount], check=True)
    shutil.rmtree(folder)
