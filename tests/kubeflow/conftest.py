"""Four runs of the compiled smoke pipeline on one emulated cluster, each with another problem."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from registry.signing import prepare_private_key
from tests.kubeflow.emulator.cluster import Cluster, PipelineRun
from tests.kubeflow.emulator.compiled_pipeline import CompiledPipeline
from tests.kubeflow.emulator.launcher import Pod, PodEvictedError, ProcessRunner, Runner
from tests.kubeflow.scenarios import run_without_schema, train_what_is_refused, with_cached_schema

PROJECT_ROOT = Path(__file__).parents[2]

CompileDigits = Callable[..., CompiledPipeline]

S3_ROOT = "s3://artifacts/runs"
"""A root whose launchers use the credentials in their environment, if there are any."""


class EvictsOnePod:
    """Evicts the first pod of a task after its command has ended."""

    def __init__(self, runner: Runner, task: str) -> None:
        self._runner = runner
        self._to_evict = {task}

    def run(self, pod: Pod, log: IO[bytes]) -> int:
        exit_code = self._runner.run(pod, log)
        if pod.task in self._to_evict:
            self._to_evict.remove(pod.task)
            raise PodEvictedError(f"the node was low on memory after exit status {exit_code}")
        return exit_code


@pytest.fixture(scope="session")
def compile_digits() -> CompileDigits:
    """Compiles the smoke pipeline with `digits compile`; pods mount `workspace` at the same path."""

    def run(folder: Path, workspace: Path, *arguments: str, config: str = os.devnull) -> CompiledPipeline:
        file = folder / "pipeline.yaml"
        command = [sys.executable, "-m", "pipeline.cli.main", "compile", "--profile", "smoke", "--config", config]
        settings = ("--set", f"kubeflow.workspace={workspace}", "--set", "data.num_shards=1")
        process = subprocess.run(
            [*command, "--output", str(file), *settings, *arguments],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        return CompiledPipeline.load(file)

    return run


@pytest.fixture(scope="session")
def pod_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of the pods."""
    return tmp_path_factory.mktemp("kubeflow-workspace")


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("signing") / "key.pem"
    return prepare_private_key(file, None, is_development=True, say=print)


@pytest.fixture(scope="session")
def cluster(signing_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    credentials_of_data = {"AWS_ACCESS_KEY_ID": "reader-of-data", "AWS_SECRET_ACCESS_KEY": "secret"}
    return Cluster(
        tmp_path_factory.mktemp("cluster"),
        EvictsOnePod(ProcessRunner(), "Pusher"),
        secrets={"object-store": credentials_of_data, "signing-key": {"private_key.pem": signing_key.read_text()}},
    )


@pytest.fixture(scope="session")
def pipeline(
    compile_digits: CompileDigits, pod_workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> CompiledPipeline:
    folder = tmp_path_factory.mktemp("compiled")
    secrets = ("--set", "kubeflow.store_secret=object-store", "--set", "kubeflow.signing_secret=signing-key")
    return compile_digits(folder, pod_workspace, *secrets)


@pytest.fixture(scope="session")
def image() -> str:
    """A parameter of the run: another image than that of the settings."""
    return "registry.example/digits@sha256:" + "0" * 64


@pytest.fixture(scope="session")
def dark_on_light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inverted images, which DataGate refuses."""
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as arrays:
        data: dict[str, Any] = {key: arrays[key][:3000] for key in arrays}
    for part in ("x_train", "x_test"):
        data[part] = 255 - data[part]
    path = tmp_path_factory.mktemp("inverted") / "inverted.npz"
    np.savez_compressed(path, **data)
    return path


@pytest.fixture(scope="session")
def first_two_runs(
    cluster: Cluster, pipeline: CompiledPipeline, dark_on_light: Path, image: str
) -> tuple[PipelineRun, PipelineRun]:
    """Two runs at once, which use both cores."""
    with ThreadPoolExecutor() as pool:
        first = pool.submit(cluster.run, pipeline, {"image": image})
        on_bad_data = pool.submit(cluster.run, with_cached_schema(pipeline), {"data_uri": str(dark_on_light)}, S3_ROOT)
    return first.result(), on_bad_data.result()


@pytest.fixture(scope="session")
def first_run(first_two_runs: tuple[PipelineRun, PipelineRun]) -> PipelineRun:
    """A run that succeeds, although the pod of Pusher is lost after it has published."""
    return first_two_runs[0]


@pytest.fixture(scope="session")
def run_on_bad_data(first_two_runs: tuple[PipelineRun, PipelineRun]) -> PipelineRun:
    """A run with data that DataGate refuses."""
    return first_two_runs[1]


@pytest.fixture(scope="session")
def refused_run(cluster: Cluster, pipeline: CompiledPipeline, first_run: PipelineRun) -> PipelineRun:
    return train_what_is_refused(cluster, pipeline, first_run)


@pytest.fixture(scope="session")
def run_after_removal(
    cluster: Cluster, pipeline: CompiledPipeline, run_on_bad_data: PipelineRun, refused_run: PipelineRun
) -> PipelineRun:
    return run_without_schema(cluster, pipeline, run_on_bad_data, S3_ROOT)
