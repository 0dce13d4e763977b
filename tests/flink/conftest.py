"""Runs the data steps on Flink and on Beam's own runner, with the same images."""

import os
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.
from tests.support.data_steps import run_data_steps

# isort: split
from pipeline.beam.options import beam_args
from pipeline.settings.settings import PROJECT_ROOT, Settings, load_settings
from tests.support.flink_cluster import (
    DISTRIBUTION,
    ClusterError,
    EngineRun,
    FlinkCluster,
    find_job_server,
    find_libraries,
    local_cluster,
    standalone_cluster,
)

NUM_TRAIN = 3000
NUM_TEST = 1000
BUILT_JOB_SERVER = DISTRIBUTION / "flink-job-server" / "flink-job-server.jar"

MakeSettings = Callable[..., Settings]


@pytest.fixture(scope="session")
def make_settings(tmp_path_factory: pytest.TempPathFactory) -> MakeSettings:
    """Returns a function that makes settings of a small run; its keywords are settings of section `beam`."""
    folder = tmp_path_factory.mktemp("source")
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as mnist:
        sizes = {"train": NUM_TRAIN, "test": NUM_TEST}
        arrays: dict[str, Any] = {
            f"{key}_{of}": mnist[f"{key}_{of}"][:size] for of, size in sizes.items() for key in "xy"
        }
    np.savez(folder / "few.npz", **arrays)
    shared = {
        "profile": "smoke",
        "workspace": str(folder / "workspace"),
        "data": {"uri": str(folder / "few.npz"), "num_shards": 2},
        "trainer": {"epochs": 1},
    }
    return lambda **beam: load_settings({**shared, "beam": beam}, file=Path(os.devnull))


@pytest.fixture(scope="session")
def direct(make_settings: MakeSettings, tmp_path_factory: pytest.TempPathFactory) -> EngineRun:
    """A run of the data steps and Trainer on Beam's own runner."""
    return _run(make_settings(), tmp_path_factory.mktemp("direct") / "steps")


@pytest.fixture(scope="session", params=["local", "standalone"])
def flink(
    request: pytest.FixtureRequest,
    make_settings: MakeSettings,
    direct: EngineRun,
    tmp_path_factory: pytest.TempPathFactory,
    libraries: Path,
    job_server: Path,
) -> Iterator[EngineRun]:
    """A run of the data steps on Flink, with the model of `direct`."""
    folder = tmp_path_factory.mktemp(request.param)
    context = (
        local_cluster(job_server, folder)
        if request.param == "local"
        else standalone_cluster(libraries, job_server, folder)
    )
    with context as cluster, _logs_named(folder):
        settings = make_settings(
            engine="flink",
            flink_parallelism=2,
            job_endpoint=cluster.job_endpoint,
            worker_pool=cluster.worker_pool,
        )
        yield _run(settings, folder / "steps", direct.folder / "Trainer" / "model", cluster)


@pytest.fixture(scope="session")
def libraries() -> Path:
    """The folder with Flink's jars."""
    try:
        return find_libraries()
    except ClusterError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def job_server() -> Path:
    """Beam's job server, or if it cannot be downloaded, an older one that Maven builds from its libraries."""
    try:
        return find_job_server()
    except ClusterError as error:
        reason = str(error).partition(" If no Internet")[0]
    if not BUILT_JOB_SERVER.exists():
        _build_job_server(reason)
    warnings.warn(f"{reason} These tests use the older job server {BUILT_JOB_SERVER}.", stacklevel=1)
    return BUILT_JOB_SERVER


def _build_job_server(reason: str) -> None:
    if shutil.which("mvn") is None:
        pytest.skip(f"{reason} Maven is not installed.")
    pom = Path(__file__).parent / "job_server" / "pom.xml"
    command = ["mvn", "-B", "-q", "-f", str(pom), "package", f"-Ddirectory={BUILT_JOB_SERVER.parent}"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        pytest.skip(f"{reason} Maven could not build one: {process.stdout[-500:]}")


def _run(settings: Settings, folder: Path, model: Path | None = None, cluster: FlinkCluster | None = None) -> EngineRun:
    beam_arguments = beam_args(settings)
    for _ in run_data_steps(settings, beam_arguments, folder, model):
        pass
    return EngineRun(folder, beam_arguments, cluster)


@contextmanager
def _logs_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"The logs of the cluster are in {folder}.")
        raise
