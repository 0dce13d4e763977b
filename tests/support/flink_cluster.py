"""Starts Flink clusters on this machine, with the configuration of `deploy/flink`, for tests and benchmarks."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.flink_runner import FlinkJarJobServer
from apache_beam.utils.subprocess_server import pick_port

PROJECT_ROOT = Path(__file__).parents[2]
DISTRIBUTION = PROJECT_ROOT / ".flink"
"""Environment where `make flink` installs Flink."""

_FLINK_VERSION = "1.19"
_CONFIGURATION = PROJECT_ROOT / "deploy" / "flink" / "config.yaml"
_NETWORK_MEMORY = {"taskmanager.memory.network.min": "512m", "taskmanager.memory.network.max": "512m"}
"""The hundreds of stages of TFMA need more than Flink's default of 64 MB."""

_START_SECONDS = 180
_STOP_SECONDS = 20
_POLL_SECONDS = 0.2
_NUM_LOG_LINES = 30

_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"


class ClusterError(RuntimeError):
    """The cluster cannot start; the message names what is missing, or the process that ended and its log."""


@dataclass(frozen=True)
class FlinkCluster:
    """A running cluster.

    Attributes:
        job_endpoint: Address of Beam's job server, HOST:PORT.
        worker_pool: Address where every TaskManager reaches Python workers, HOST:PORT; empty if the step does the work.
        process_ids: IDs of its processes by name.
    """

    job_endpoint: str
    worker_pool: str
    process_ids: Mapping[str, int]


@dataclass(frozen=True)
class EngineRun:
    """A run of the data steps on one engine.

    Attributes:
        folder: Contains one folder per step.
        beam_arguments: Beam's options for the engine.
        cluster: The Flink cluster, which is still running, or None.
    """

    folder: Path
    beam_arguments: list[str]
    cluster: FlinkCluster | None = None


def find_libraries() -> Path:
    """Returns the folder with Flink's jars.

    Raises:
        ClusterError: Java or Flink is not installed.
    """
    if shutil.which("java") is None:
        raise ClusterError("Java is not installed; install Java 11 or 17.")
    found = next(DISTRIBUTION.glob("lib/python3*/site-packages/pyflink/lib"), None)
    if found is None:
        raise ClusterError(f"Flink is not installed in {DISTRIBUTION}; run `make flink`.")
    return found


def find_job_server() -> Path:
    """Returns Beam's job server, a jar, which Beam downloads the first time.

    Raises:
        ClusterError: Beam cannot download it.
    """
    server = FlinkJarJobServer(PipelineOptions([f"--flink_version={_FLINK_VERSION}"]))
    try:
        return Path(server.local_jar(server.path_to_jar()))
    except RuntimeError as error:
        raise ClusterError(str(error)) from error


@contextmanager
def local_cluster(job_server: Path, folder: Path) -> Iterator[FlinkCluster]:
    """Starts a job server with a cluster inside, without Python workers, and stops it at the end.

    Args:
        job_server: Beam's job server, a jar.
        folder: Folder for the configuration, temporary files and the log.

    Raises:
        ClusterError: The job server ended, or does not answer in time.
    """
    (job_port,) = pick_port(None)
    options = [f"--flink-conf-dir={_write_configuration(_NETWORK_MEMORY, folder)}"]
    commands = {"job-server": [*_job_server(job_server, job_port, folder, "[local]"), *options]}
    with _processes(commands, folder, lambda: _is_open(job_port)) as process_ids:
        yield FlinkCluster(f"localhost:{job_port}", "", process_ids)


@contextmanager
def standalone_cluster(libraries: Path, job_server: Path, folder: Path) -> Iterator[FlinkCluster]:
    """Starts a JobManager, two TaskManagers of one slot, a worker pool and a job server, and stops them at the end.

    Args:
        libraries: Folder with Flink's jars.
        job_server: Beam's job server, a jar.
        folder: Folder for the configuration, temporary files and one log per process.

    Raises:
        ClusterError: A process ended, or is not ready in time.
    """
    rpc_port, rest_port, pool_port, job_port = pick_port(None, None, None, None)
    configuration = _standalone_configuration(folder, rpc_port, rest_port)
    files = _write_configuration(configuration, folder)
    options = shlex.split(str(configuration["env.java.opts.all"]))
    java = ["java", *options, "-Dorg.apache.logging.log4j.level=INFO", "-cp", f"{libraries}/*"]
    heap = _megabytes(configuration, "framework.heap.size", "task.heap.size")
    direct = _megabytes(configuration, "framework.off-heap.size", "task.off-heap.size", "network.max")
    sizes = [f"-Xmx{heap}m", f"-XX:MaxDirectMemorySize={direct}m"]
    task_manager = [*java, *sizes, _TASK_MANAGER, "--configDir", str(files)]
    commands = {
        "job-manager": [*java, "-Xmx1g", _JOB_MANAGER, "--configDir", str(files)],
        "worker-pool": [sys.executable, "-m", "pipeline.beam.worker_pool", "--host=localhost", f"--port={pool_port}"],
        "job-server": _job_server(job_server, job_port, folder, f"localhost:{rest_port}"),
        "task-manager-0": task_manager,
        "task-manager-1": task_manager,
    }

    def is_ready() -> bool:
        has_workers = "Workers for" in _log(folder, "worker-pool")
        return has_workers and _num_task_managers(rest_port) == 2 and _is_open(job_port)

    with _processes(commands, folder, is_ready) as process_ids:
        yield FlinkCluster(f"localhost:{job_port}", f"localhost:{pool_port}", process_ids)


def _job_server(jar: Path, port: int, folder: Path, flink_master: str) -> list[str]:
    return [
        *("java", "-Xmx1g", "-jar", str(jar)),
        f"--flink-master={flink_master}",
        "--job-host=localhost",
        f"--job-port={port}",
        "--artifact-port=0",
        "--expansion-port=-1",
        f"--artifacts-dir={folder / 'artifacts'}",
    ]


def _write_configuration(values: Mapping[str, str | int | float], folder: Path) -> Path:
    (folder / "conf").mkdir()
    (folder / "conf" / "config.yaml").write_text(yaml.safe_dump(dict(values)))
    return folder / "conf"


def _standalone_configuration(folder: Path, rpc_port: int, rest_port: int) -> dict[str, str | int | float]:
    return {
        **yaml.safe_load(_CONFIGURATION.read_text()),
        "jobmanager.rpc.address": "localhost",
        "jobmanager.bind-host": "localhost",
        "jobmanager.rpc.port": rpc_port,
        "rest.address": "localhost",
        "rest.bind-address": "localhost",
        "rest.port": rest_port,
        "rest.bind-port": rest_port,
        "blob.server.port": 0,
        "taskmanager.host": "localhost",
        "taskmanager.bind-host": "localhost",
        "taskmanager.rpc.port": 0,
        "taskmanager.data.port": 0,
        "io.tmp.dirs": str(folder / "tmp"),
        # All processes share one machine, which may be busy.
        "heartbeat.timeout": 180_000,
        # At the end of a job, Flink may unload classes that Beam's network threads still need. Here, nobody restarts a
        # TaskManager that ends because of their errors; Kubernetes does.
        "cluster.uncaught-exception-handling": "LOG",
        # Flink's scripts, which the package on PyPI lacks, derive these from other settings.
        "taskmanager.cpu.cores": 1.0,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
        # Each TaskManager allocates this when it starts.
        **_NETWORK_MEMORY,
    }


def _megabytes(configuration: Mapping[str, str | int | float], *keys: str) -> int:
    units = {"m": 1, "g": 1024}
    sizes = [str(configuration[f"taskmanager.memory.{key}"]) for key in keys]
    return sum(int(size[:-1]) * units[size[-1]] for size in sizes)


@contextmanager
def _processes(
    commands: Mapping[str, Sequence[str]], folder: Path, is_ready: Callable[[], bool]
) -> Iterator[dict[str, int]]:
    """Starts processes and waits until they are ready; yields the process IDs."""
    with ExitStack() as stack:
        processes = {name: stack.enter_context(_process(name, command, folder)) for name, command in commands.items()}
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            for name, process in processes.items():
                if process.poll() is not None:
                    raise ClusterError(f"{name} ended with exit code {process.returncode}:\n{_log(folder, name)}")
            if time.monotonic() > deadline:
                raise ClusterError(f"The cluster is not ready after {_START_SECONDS} s; its logs are in {folder}.")
            time.sleep(_POLL_SECONDS)
        yield {name: process.pid for name, process in processes.items()}


@contextmanager
def _process(name: str, command: Sequence[str], folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("localhost", port)) == 0


def _num_task_managers(rest_port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://localhost:{rest_port}/taskmanagers", timeout=5) as response:
            return len(json.load(response)["taskmanagers"])
    except OSError:
        return 0


def _log(folder: Path, name: str) -> str:
    text = (folder / f"{name}.log").read_text(errors="replace")
    return "\n".join(text.splitlines()[-_NUM_LOG_LINES:])
