"""Runs Docker or podman; podman with temporary stores and settings."""

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
"""Options that restrict a container like a pod of a hardened cluster."""

# Programs in images trust the same proxy as the host.
_HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_MOST = 16384


class NoEngineError(Exception):
    """No engine can build and run images here; the message says why."""


@dataclass(frozen=True)
class Engine:
    """A program that builds and runs images.

    Attributes:
        command: `docker` or `podman`.
        environment: Variables that the command and `make image` need to find its stores.
    """

    command: str
    environment: Mapping[str, str]

    def run(self, *arguments: str | Path, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command of the engine; it may fail.

        Args:
            arguments: Such as `run`, `--rm`, the image and the command.
            timeout: Limit in seconds.

        Raises:
            subprocess.TimeoutExpired: The command takes longer.
        """
        command = [self.command, *map(str, arguments)]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout
        )

    def output(self, *arguments: str | Path) -> str:
        """Runs a command of the engine and returns its stdout.

        Raises:
            AssertionError: The command fails.
        """
        process = self.run(*arguments)
        assert process.returncode == 0, f"{self.command} {' '.join(map(str, arguments))}\n{process.stderr}"
        return process.stdout


def require_containers(engine: Engine, image: str) -> None:
    """Checks that the engine can start containers.

    Raises:
        NoEngineError: It cannot; the message contains its reason.
    """
    process = engine.run("run", "--rm", image, "true")
    if process.returncode:
        reason = process.stderr.strip().splitlines()[-1:]
        raise NoEngineError(f"{engine.command} cannot start containers: {' '.join(reason)}")


def user() -> str:
    """Returns the user and group of a container: this user, or another one if this is root."""
    return f"{os.getuid() or 12345}:0"


@contextmanager
def open_engine() -> Iterator[Engine]:
    """Opens Docker, or else podman.

    Raises:
        NoEngineError: Neither is usable.
    """
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        yield Engine("docker", dict(os.environ))
        return
    if shutil.which("podman") is None:
        raise NoEngineError("neither a running Docker engine nor podman; install Debian's podman")
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
    """Writes settings so that podman also runs in a container or without systemd."""
    for name in ("tmp", "networks", "uv"):
        (folder / name).mkdir()
    storage = ["[storage]", 'driver = "overlay"', f'graphroot = "{folder}/storage"', f'runroot = "{folder}/run"']
    # No bridges and firewall rules, which would remain.
    containers = ["[containers]", 'netns = "host"', f"default_ulimits = {_limits()}"]
    if _HOST_CERTIFICATES.exists():
        (folder / "uv" / "uv.toml").write_text("system-certs = true\n", encoding="utf-8")
        mounts = [f"{_HOST_CERTIFICATES}:{_HOST_CERTIFICATES}:ro", f"{folder}/uv:/etc/uv:ro"]
        containers.append(f"volumes = {mounts}")
    containers += ["[engine]", 'cgroup_manager = "cgroupfs"', 'events_logger = "file"', f'tmp_dir = "{folder}/run/tmp"']
    containers += [f'volume_path = "{folder}/volumes"', f'image_copy_tmp_dir = "{folder}/tmp"']
    if shutil.which("runc"):
        # Debian 12's crun does not work if cgroups version 1 and 2 are both in use.
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
    """Returns limits of processes and files that need no right to raise limits."""
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
