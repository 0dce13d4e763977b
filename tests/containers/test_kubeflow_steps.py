"""Three runs of the compiled pipeline with each task in its own container, as on Kubeflow.

tests/kubeflow tests more details without containers.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers.container_runner import ContainerRunner
from tests.containers.engine import Engine
from tests.kubeflow.emulator.cluster import Cluster, PipelineRun
from tests.kubeflow.emulator.compiled_pipeline import CompiledPipeline
from tests.kubeflow.scenarios import (
    GATES,
    run_without_schema,
    stored_verdict,
    train_what_is_refused,
    with_cached_schema,
)

pytestmark = pytest.mark.containers

RunInImage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def pipeline(run_in_image: RunInImage, image: str, workspace: Path) -> CompiledPipeline:
    """The smoke pipeline, also compiled in the image."""
    settings = ("--profile", "smoke", "--image", image, "--set", "data.num_shards=1")
    command = ("digits", "compile", "--output", "/workspace/pipeline.yaml", *settings)
    process = run_in_image(*command, options=(f"--volume={workspace}:/workspace",))
    assert process.returncode == 0, process.stderr
    return CompiledPipeline.load(workspace / "pipeline.yaml")


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("claims")


@pytest.fixture(scope="module")
def cluster(engine: Engine, claims: Path, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"), ContainerRunner(engine, claims))


@pytest.fixture(scope="module")
def first_run(cluster: Cluster, pipeline: CompiledPipeline) -> PipelineRun:
    return cluster.run(with_cached_schema(pipeline))


@pytest.fixture(scope="module")
def refused_run(cluster: Cluster, pipeline: CompiledPipeline, first_run: PipelineRun) -> PipelineRun:
    return train_what_is_refused(cluster, pipeline, first_run)


@pytest.fixture(scope="module")
def run_after_removal(
    cluster: Cluster, pipeline: CompiledPipeline, first_run: PipelineRun, refused_run: PipelineRun
) -> PipelineRun:
    return run_without_schema(cluster, pipeline, first_run)


def test_every_task_succeeds_and_the_model_is_pushed(
    first_run: PipelineRun, pipeline: CompiledPipeline, claims: Path
) -> None:
    logs = {name: task.attempts[-1].log[-3000:] for name, task in first_run.tasks.items() if task.state == "failed"}
    assert not logs, logs
    assert first_run.named("succeeded") == set(pipeline.tasks) - {"DataReport"}, "it runs if DataGate refuses"
    pushed = first_run.output("Pusher", "pushed_model").properties
    assert pushed["pushed"] == 1
    [model] = claims.glob("*/digits-smoke/*/saved_model.pb")
    assert model.parent.name == str(pushed["pushed_version"])


def test_second_run_finds_that_model_and_does_not_push_a_refused_one(
    cluster: Cluster, first_run: PipelineRun, refused_run: PipelineRun, claims: Path
) -> None:
    assert refused_run.succeeded, refused_run
    pushed = first_run.output("Pusher", "pushed_model").properties
    assert refused_run.output("BaselineModel", "baseline_model").properties["version"] == pushed["pushed_version"]
    verdicts = {gate: stored_verdict(cluster, refused_run, gate) for gate in GATES}
    assert verdicts["DataGate"].passed
    refused = {(finding.metric, finding.slice): finding for finding in verdicts["Evaluator"].findings}[
        "accuracy", "all"
    ]
    assert (refused.passed, refused.lower_bound) == (False, 1)
    assert refused.baseline is not None
    assert any(finding.baseline is not None for finding in verdicts["RobustnessEvaluator"].findings)
    assert refused_run.output("Pusher", "pushed_model").properties["pushed"] == 0
    assert len([*claims.glob("*/digits-smoke/*/saved_model.pb")]) == 1


def test_removed_artifact_fails_the_step_that_needs_it_with_one_line(
    run_after_removal: PipelineRun,
) -> None:
    schema = run_after_removal.output("ImportSchemaGen", "schema")
    assert run_after_removal.named("failed") == {"MnistExampleGen"}
    last = run_after_removal.tasks["MnistExampleGen"].attempts[-1]
    assert last.exit_code == 1
    assert "Traceback" not in last.log
    [error] = [line for line in last.log.splitlines() if line.startswith("Error: ")]
    assert f'input artifact "schema" ({schema.uri}): nothing there' in error
