"""The compiled pipeline, each task in a container of its own, as pods are on Kubeflow."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers.container_runner import ContainerRunner
from tests.containers.engine import Engine
from tests.kubeflow.emulator.cluster import Cluster, PipelineRun
from tests.kubeflow.emulator.compiled_pipeline import CompiledPipeline

pytestmark = pytest.mark.containers

RunInImage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def pipeline(run_in_image: RunInImage, image: str, workspace: Path) -> CompiledPipeline:
    """The smoke pipeline, compiled in the image as well: nothing is taken from this machine."""
    settings = ("--profile", "smoke", "--image", image, "--set", "data.num_shards=1")
    command = ("digits", "compile", "--output", "/workspace/pipeline.yaml", *settings)
    process = run_in_image(*command, options=(f"--volume={workspace}:/workspace",))
    assert process.returncode == 0, process.stderr
    return CompiledPipeline.load(workspace / "pipeline.yaml")


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("claims")


@pytest.fixture(scope="module")
def run(
    engine: Engine, pipeline: CompiledPipeline, claims: Path, tmp_path_factory: pytest.TempPathFactory
) -> PipelineRun:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), ContainerRunner(engine, claims))
    return cluster.run(pipeline)


def test_every_task_succeeds_and_the_model_is_pushed(
    run: PipelineRun, pipeline: CompiledPipeline, claims: Path
) -> None:
    logs = {name: task.attempts[-1].log[-3000:] for name, task in run.tasks.items() if task.state == "failed"}
    assert not logs, logs
    assert run.named("succeeded") == set(pipeline.tasks)
    outputs = run.tasks["Pusher"].outputs or {}
    assert outputs["pushed_model"].properties["pushed"] == 1
    version = str(outputs["pushed_model"].properties["pushed_version"])
    [model] = claims.glob("*/digits-smoke/*/saved_model.pb")
    assert model.parent.name == version
