"""A standalone Flink cluster on this machine, with the configuration of `deploy/flink`: for tests and measurements."""

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

from pipeline.settings.beam import BeamSettings

PROJECT_ROOT = Path(__file__).parents[1]
DISTRIBUTION = PROJECT_ROOT / ".flink"
"""Environment that `make flink` installs Flink into."""

_CONFIGURATION = PROJECT_ROOT / "deploy" / "flink" / "config.yaml"

_START_SECONDS = 180
_STOP_SECONDS = 20
_POLL_SECONDS = 0.2
_NUM_LOG_LINES = 30

_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"


class ClusterError(RuntimeError):
    """The cluster cannot be had; the message says what is missing, or which process ended and what it said."""


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster that runs.

    Attributes:
        job_endpoint: Address of Beam's job server, HOST:PORT.
        worker_pool: Address at which every TaskManager finds Python workers, HOST:PORT.
        process_ids: Of each of its processes, by name.
    """

    job_endpoint: str
    worker_pool: str
    process_ids: Mapping[str, int]


@dataclass(frozen=True)
class EngineRun:
    """What the data steps wrote on an engine, which is still there.

    Attributes:
        folder: One folder per step.
        beam_arguments: Options of the engine.
        cluster: That of Flink, where it has one of its own.
    """

    folder: Path
    beam_arguments: list[str]
    cluster: FlinkCluster | None = None


def find_libraries(environment: Path = DISTRIBUTION) -> Path:
    """Finds the jars of a Flink distribution.

    Args:
        environment: A Python environment with PyPI's apache-flink-libraries.

    Raises:
        ClusterError: There is no Java, or no distribution there.
    """
    if shutil.which("java") is None:
        raise ClusterError("There is no Java; install Java 11 or 17.")
    found = next(environment.glob("lib/python3*/site-packages/pyflink/lib"), None)
    if found is None:
        raise ClusterError(f"There is no Flink in {environment}; run `make flink`.")
    return found


def find_job_server() -> Path:
    """Returns Beam's job server, which Beam downloads the first time.

    Raises:
        ClusterError: It cannot be had.
    """
    version = BeamSettings().flink_version
    server = FlinkJarJobServer(PipelineOptions([f"--flink_version={version}"]))
    try:
        return Path(server.local_jar(server.path_to_jar()))
    except RuntimeError as error:
        raise ClusterError(str(error)) from error


@contextmanager
def standalone_cluster(
    libraries: Path, job_server: Path, folder: Path, num_task_managers: int = 2
) -> Iterator[FlinkCluster]:
    """Starts a JobManager, TaskManagers of one slot each, a pool of Python workers and a job server; ends them all.

    Args:
        libraries: Folder of Flink's jars.
        job_server: Beam's job server, a jar.
        folder: Where configuration, temporary files and one log per process are kept.
        num_task_managers: How many.

    Raises:
        ClusterError: One of them ended, or is not there in time.
    """
    rpc_port, rest_port, pool_port, job_port = pick_port(None, None, None, None)
    configuration = _configuration(folder, rpc_port, rest_port)
    files = _write_configuration(configuration, folder / "conf")
    options = shlex.split(str(configuration["env.java.opts.all"]))
    java = ["java", *options, "-Dorg.apache.logging.log4j.level=INFO", "-cp", f"{libraries}/*"]
    commands = {
        "job-manager": [*java, "-Xmx1g", _JOB_MANAGER, "--configDir", str(files)],
        "worker-pool": [sys.executable, "-m", "pipeline.beam.worker_pool", "--port", str(pool_port)],
    }
    # As in deploy/flink.
    addresses = [f"--flink-master=localhost:{rest_port}", "--job-host=localhost", f"--job-port={job_port}"]
    others = ["--artifact-port=0", "--expansion-port=-1", f"--artifacts-dir={folder / 'artifacts'}"]
    commands["job-server"] = ["java", "-Xmx1g", "-jar", str(job_server), *addresses, *others]
    heap = _megabytes(configuration, "framework.heap.size", "task.heap.size")
    direct = _megabytes(configuration, "framework.off-heap.size", "task.off-heap.size", "network.max")
    sizes = [f"-Xmx{heap}m", f"-XX:MaxDirectMemorySize={direct}m"]
    for number in range(num_task_managers):
        commands[f"task-manager-{number}"] = [*java, *sizes, _TASK_MANAGER, "--configDir", str(files)]
    with ExitStack() as stack:
        processes = {name: stack.enter_context(_process(name, command, folder)) for name, command in commands.items()}
        _wait(lambda: _num_task_managers(rest_port) == num_task_managers, processes, folder)
        _wait(lambda: "Workers for" in _log(folder, "worker-pool"), processes, folder)
        _wait(lambda: _is_open(job_port), processes, folder)
        process_ids = {name: process.pid for name, process in processes.items()}
        yield FlinkCluster(f"localhost:{job_port}", f"localhost:{pool_port}", process_ids)


def _write_configuration(values: Mapping[str, str | int], folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(values)))
    return folder


def _configuration(folder: Path, rpc_port: int, rest_port: int) -> dict[str, str | int]:
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
        # Everything runs on one machine here, which may have other work as well.
        "heartbeat.timeout": 180_000,
        # Flink's scripts, which the package of PyPI lacks, would derive these from what else is set.
        "taskmanager.cpu.cores": 1.0,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
        # Taken when it starts, by each of them on this one machine.
        "taskmanager.memory.network.min": "512m",
        "taskmanager.memory.network.max": "512m",
    }


def _megabytes(configuration: Mapping[str, str | int], *keys: str) -> int:
    units = {"m": 1, "g": 1024}
    sizes = [str(configuration[f"taskmanager.memory.{key}"]) for key in keys]
    return sum(int(size[:-1]) * units[size[-1]] for size in sizes)


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


def _wait(is_there: Callable[[], bool], processes: "Mapping[str, subprocess.Popen[bytes]]", folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not is_there():
        for name, process in processes.items():
            if process.poll() is not None:
                raise ClusterError(f"{name} ended with exit code {process.returncode}:\n{_log(folder, name)}")
        if time.monotonic() > deadline:
            raise ClusterError(f"The cluster is not there after {_START_SECONDS} s; its logs are in {folder}.")
        time.sleep(_POLL_SECONDS)


def _is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("localhost", port)) == 0


def _num_task_managers(rest_port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://localhost:{rest_port}/taskmanagers", timeout=5) as answer:
            return len(json.load(answer)["taskmanagers"])
    except OSError:
        return 0


def _log(folder: Path, name: str) -> str:
    text = (folder / f"{name}.log").read_text(errors="replace")
    return "\n".join(text.splitlines()[-_NUM_LOG_LINES:])
