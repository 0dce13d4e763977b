"""Tests the compiled pipeline under the contract of Kubeflow Pipelines, without a cluster.

Every task runs as in its pod: with the input from the driver, in its own file system, from and to an object store, and
with metadata as MLMD returns it. See `emulator`.
"""

import gzip
import shutil
from pathlib import Path

import pytest

from components.example_gen.sources.detection import find_data
from components.verdict import Verdict
from registry.lineage import trace_version
from registry.provenance import DataOrigin, hash_files, model_fingerprint, read_provenance
from registry.signing import State, TrustPolicy
from registry.versions import Version, list_versions
from tests.kubeflow.emulator.cluster import Cluster, PipelineRun
from tests.kubeflow.emulator.compiled_pipeline import CompiledPipeline
from tests.kubeflow.scenarios import GATES, stored_verdict

PROJECT_ROOT = Path(__file__).parents[2]
BEFORE_THE_GATE = {"MnistExampleGen", "ImportSchemaGen", "StatisticsGen", "ExampleValidator", "DataGate"}
IF_DATA_IS_REFUSED = {"DataReport"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def version(
    first_run: PipelineRun, refused_run: PipelineRun, run_on_bad_data: PipelineRun, pod_workspace: Path
) -> Version:
    """The only version after all runs."""
    [version] = list_versions(pod_workspace / "serving" / "digits-smoke")
    return version


@pytest.fixture(scope="module")
def verdicts(cluster: Cluster, refused_run: PipelineRun) -> dict[str, Verdict]:
    return {gate: stored_verdict(cluster, refused_run, gate) for gate in GATES}


def test_every_task_of_the_first_run_succeeds(first_run: PipelineRun, pipeline: CompiledPipeline) -> None:
    assert first_run.named("succeeded") | first_run.named("cached") == set(pipeline.tasks) - IF_DATA_IS_REFUSED, (
        first_run
    )
    assert BEFORE_THE_GATE | GATES | {"Pusher"} < set(pipeline.tasks)


def test_pods_use_the_image_of_the_run_and_leave_no_files(first_run: PipelineRun, image: str) -> None:
    attempts = [attempt for task in first_run.tasks.values() for attempt in task.attempts]
    assert {attempt.image for attempt in attempts} == {image}
    assert [attempt.left_behind for attempt in attempts if attempt.left_behind] == []


def test_pushed_version_is_signed_with_the_key_of_the_secret(version: Version, signing_key: Path) -> None:
    assert TrustPolicy(signing_key).check(version.directory).state is State.VERIFIED


def test_pushed_version_has_its_provenance(first_run: PipelineRun, version: Version) -> None:
    provenance = read_provenance(version.directory)
    assert provenance is not None
    assert provenance.origin.pipeline_run == first_run.run_id
    assert provenance.origin.model_uri == first_run.output("Trainer", "model").uri
    data = find_data(str(PROJECT_ROOT / "data" / "mnist.npz"), None)
    ingredients = provenance.origin.ingredients
    assert ingredients is not None
    assert (ingredients.data.uri, ingredients.data.span) == (data.uri, 0)
    assert ingredients.data.fingerprint == data.fingerprint
    assert {gate.gate for gate in provenance.origin.gates} == GATES


def test_a_copy_of_the_pushed_version_leads_back_to_its_artifacts_and_the_data(
    cluster: Cluster, first_run: PipelineRun, version: Version, tmp_path: Path
) -> None:
    shutil.copytree(version.directory, tmp_path / "copy")
    lineage = trace_version(tmp_path / "copy", TrustPolicy(), anywhere=True)
    artifacts = {artifact.step: artifact for artifact in lineage.artifacts}
    by_id = {artifact.id: artifact for artifact in lineage.artifacts}

    def stored(step: str, output: str) -> Path:
        return cluster.store.path(first_run.output(step, output).uri)

    assert {artifacts[gate].id for gate in GATES} | {artifacts["Trainer"].id} == set(artifacts["Pusher"].inputs)
    graph = next(by_id[number] for number in artifacts["Trainer"].inputs if by_id[number].type == "TransformGraph")
    assert graph.fingerprint == model_fingerprint(stored("Transform", "transform_graph"))
    inputs = [by_id[number] for number in graph.inputs]
    assert hash_files(stored("ImportSchemaGen", "schema"))["schema.pbtxt"] in {each.fingerprint for each in inputs}
    data = find_data(str(PROJECT_ROOT / "data" / "mnist.npz"), None)
    assert DataOrigin(uri=data.uri, span=0, fingerprint=data.fingerprint) in [each.data for each in inputs]
    assert lineage.origin.baseline_version is None


def test_evicted_pod_of_pusher_does_not_create_a_second_version(first_run: PipelineRun, version: Version) -> None:
    pusher = first_run.tasks["Pusher"]
    assert [(attempt.exit_code, attempt.failure) for attempt in pusher.attempts] == [
        (None, "pod evicted: the node was low on memory after exit status 0"),
        (0, ""),
    ]
    pushed = first_run.output("Pusher", "pushed_model").properties
    assert (pushed["pushed"], pushed["pushed_version"]) == (1, str(version.number))


def test_no_path_of_a_pod_leaves_it(
    cluster: Cluster, first_run: PipelineRun, refused_run: PipelineRun, pod_workspace: Path
) -> None:
    # Only the last parts, in case the others are a symbolic link.
    pods = "/".join(cluster.pods.parts[-2:])
    for run in (first_run, refused_run):
        for name, task in run.tasks.items():
            for artifact in (task.outputs or {}).values():
                assert pods not in repr(artifact), name
    stored = [file for folder in (cluster.store.folder, pod_workspace) for file in folder.rglob("*") if file.is_file()]
    # TFMA writes the paths of the models to this file; nobody reads them.
    looked_at = [file for file in stored if file.name != "eval_config.json" and "executor-logs" not in file.name]
    assert len(looked_at) > 50
    for file in looked_at:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        assert pods.encode() not in content, file


def test_second_run_repeats_all_steps_that_depend_on_data(refused_run: PipelineRun) -> None:
    assert refused_run.succeeded, refused_run
    assert refused_run.named("cached") == set()


def test_second_run_compares_with_the_model_of_the_first(
    cluster: Cluster, refused_run: PipelineRun, version: Version, verdicts: dict[str, Verdict]
) -> None:
    baseline = refused_run.output("BaselineModel", "baseline_model")
    assert baseline.properties["version"] == str(version.number)
    copy = cluster.store.path(baseline.uri) / "Format-Serving"
    assert model_fingerprint(copy) == model_fingerprint(version.directory)
    provenance = read_provenance(version.directory)
    assert provenance is not None
    pushed = {gate.gate: gate.metrics for gate in provenance.origin.gates}
    for gate in ("Evaluator", "RobustnessEvaluator"):
        compared = {finding.metric: finding.baseline for finding in verdicts[gate].findings if finding.baseline}
        assert compared, gate
    [accuracy] = [
        finding for finding in verdicts["Evaluator"].findings if (finding.metric, finding.slice) == ("accuracy", "all")
    ]
    assert accuracy.baseline == pytest.approx(pushed["Evaluator"]["accuracy"]["all"])
    on_new_data = [each for each in verdicts["Evaluator"].findings if each.metric == "change of baseline accuracy"]
    assert [(each.passed, each.value) for each in on_new_data] == [(True, pytest.approx(0))], "the data is the same"


def test_refused_model_is_not_pushed_and_has_all_verdicts(
    cluster: Cluster, refused_run: PipelineRun, verdicts: dict[str, Verdict]
) -> None:
    assert refused_run.succeeded, refused_run
    pushed_model = refused_run.output("Pusher", "pushed_model")
    assert pushed_model.properties["pushed"] == 0
    assert not cluster.store.path(pushed_model.uri).exists()
    assert verdicts["DataGate"].passed
    assert {finding.metric for finding in verdicts["ServingCheck"].refusals} == {"accuracy on image files"}
    [refusal] = [
        finding
        for finding in verdicts["Evaluator"].findings
        if (finding.metric, finding.slice, finding.passed) == ("accuracy", "all", False)
    ]
    assert refusal.lower_bound == 1
    assert refusal.reason
    for gate in GATES:
        assert refused_run.output(gate, "verdict").properties["passed"] == verdicts[gate].passed


def test_the_user_interface_shows_the_report_of_every_run(
    cluster: Cluster,
    first_run: PipelineRun,
    refused_run: PipelineRun,
    run_on_bad_data: PipelineRun,
    pipeline: CompiledPipeline,
    version: Version,
) -> None:
    expected = {
        "RunReport": [(first_run, str(version.number)), (refused_run, "accuracy")],
        "DataReport": [(run_on_bad_data, "share of zeros (background)")],
    }
    for step, runs in expected.items():
        [output] = pipeline.tasks[step].component.output_definitions.artifacts.values()
        assert output.artifact_type.schema_title == "system.HTML"
        for run, text in runs:
            page = cluster.store.path(run.output(step, "report").uri)
            assert page.suffix == ".html"
            content = page.read_text(encoding="utf-8")
            assert text in content
            assert run.run_id in content


def test_refused_data_reaches_no_training_step(
    cluster: Cluster, run_on_bad_data: PipelineRun, pipeline: CompiledPipeline
) -> None:
    assert run_on_bad_data.succeeded, run_on_bad_data
    done = BEFORE_THE_GATE | IF_DATA_IS_REFUSED
    assert run_on_bad_data.named("succeeded") | run_on_bad_data.named("cached") == done
    assert run_on_bad_data.named("skipped") | run_on_bad_data.named("omitted") == set(pipeline.tasks) - done
    verdict = stored_verdict(cluster, run_on_bad_data, "DataGate")
    assert "share of zeros (background)" in {finding.metric for finding in verdict.findings if not finding.passed}


def test_credentials_of_the_data_do_not_redirect_artifacts(cluster: Cluster, run_on_bad_data: PipelineRun) -> None:
    execution = run_on_bad_data.tasks["MnistExampleGen"].execution
    assert execution is not None
    assert [item["valueFrom"]["secretKeyRef"]["key"] for item in execution.pod["env"]] == [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ]
    examples = run_on_bad_data.output("MnistExampleGen", "examples")
    assert examples.uri.startswith("s3://")
    assert list(cluster.store.path(examples.uri).iterdir())


def test_removed_artifact_fails_the_step_that_needs_it(
    run_after_removal: PipelineRun, pipeline: CompiledPipeline, version: Version
) -> None:
    schema = run_after_removal.output("ImportSchemaGen", "schema")
    example_gen = run_after_removal.tasks["MnistExampleGen"]
    assert run_after_removal.tasks["ImportSchemaGen"].state == "cached"
    assert run_after_removal.named("failed") == {"MnistExampleGen"}
    assert len(example_gen.attempts) == pipeline.tasks["MnistExampleGen"].num_attempts
    for attempt in example_gen.attempts:
        assert attempt.exit_code == 1
        [error] = [line for line in attempt.log.splitlines() if line.startswith("Error: ")]
        assert f'input artifact "schema" ({schema.uri}): nothing there' in error
        assert "Traceback" not in attempt.log
    assert run_after_removal.named("omitted") == set(pipeline.tasks) - {"ImportSchemaGen", "MnistExampleGen"}
