from pathlib import Path
from typing import Any

import pytest

from pipeline.kubeflow.step.artifact_files import count_output_files, prepare_files, staged
from pipeline.kubeflow.step.executor_messages import LocalInput
from pipeline.kubeflow.step.failure import KubeflowStepError

Json = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a step in its pod."""
    return tmp_path / "minio" / "uuid"


def make_step(folder: Path, inputs: dict[str, Json], outputs: dict[str, str], *, in_pod: bool = True) -> LocalInput:
    """Makes a step with metadata by input key and types by output key; its inputs have no files."""
    artifacts = {
        "inputs": {key: {"metadata": metadata} for key, metadata in inputs.items()},
        "outputs": {key: {"type": {"instanceSchema": f"title: {title}\n"}} for key, title in outputs.items()},
    }
    executor_input: Json = {"inputs": {"parameterValues": {}}, "outputs": {"outputFile": str(folder / "output.json")}}
    for side, by_key in artifacts.items():
        executor_input[side]["artifacts"] = {
            key: {"artifacts": [{**artifact, "uri": str(folder / key)}]} for key, artifact in by_key.items()
        }
    keys = [*inputs, *outputs] if in_pod else []
    return LocalInput(executor_input, {str(folder / key): f"minio://bucket/{key}" for key in keys}, "run-1")


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("content")


@pytest.mark.parametrize("kind", ["Bytes", "String", "Boolean", "Integer", "Float", "JsonValue"])
def test_folders_are_created_for_outputs_that_are_folders(kind: str, folder: Path) -> None:
    prepare_files(make_step(folder, {}, {"value": f"tfx.{kind}", "model": "tfx.Model"}))
    assert [path.name for path in folder.iterdir()] == ["model"]


def test_artifacts_that_stay_in_the_store_are_not_touched(folder: Path) -> None:
    step = make_step(folder, {"examples": {}}, {"model": "tfx.Model"}, in_pod=False)
    prepare_files(step)
    assert not (folder / "model").exists()
    assert count_output_files(step) == {}


@pytest.mark.parametrize(
    ("key", "num_files", "files", "problem"),
    [
        ("baseline_model", None, (), None),
        ("baseline_model", 0.0, (), None),
        ("baseline_model", None, ("saved_model.pb",), None),
        ("baseline_model", 3.0, (), "nothing there"),
        ("pushed_model", 0.0, (), None),
        ("examples", None, (), "nothing there"),
        ("examples", 2.0, ("Split-train/a.gz", "Split-eval/a.gz"), None),
        ("examples", 3.0, ("Split-train/a.gz",), "2 of its 3 files are missing"),
    ],
)
def test_inputs_must_have_all_their_files(
    key: str, num_files: float | None, files: tuple[str, ...], problem: str | None, folder: Path
) -> None:
    write(folder / key, *files)
    step = make_step(folder, {key: {} if num_files is None else {"num_files": num_files}}, {})
    if problem is None:
        prepare_files(step)
        return
    message = rf'^input artifact "{key}" \(minio://bucket/{key}\): {problem}; the step that wrote it must run again: '
    with pytest.raises(KubeflowStepError, match=message):
        prepare_files(step)


def test_files_are_counted_in_all_folders(folder: Path) -> None:
    write(folder, "model/a", "model/b/c", "model/b/d/e", "value")
    step = make_step(folder, {}, {"model": "tfx.Model", "value": "tfx.String", "absent": "tfx.Model"})
    assert count_output_files(step) == {"model": 3, "value": 1, "absent": 0}


@pytest.fixture
def local(folder: Path) -> LocalInput:
    """A prepared step with one file in its input."""
    write(folder / "examples", "Split-train/a.gz")
    step = make_step(folder, {"examples": {}}, {"statistics": "tfx.ExampleStatistics"})
    prepare_files(step)
    return step


def test_step_runs_in_the_shared_folder_and_leaves_nothing_there(
    local: LocalInput, folder: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    # Files of an attempt that was killed.
    write(shared / "uuid", "0/old", "1/old")
    with staged(local, shared) as moved:
        examples, statistics = (Path(artifact["uri"]) for _, artifact in (*moved.inputs, *moved.outputs))
        assert shared in examples.parents
        assert shared in statistics.parents
        assert [path.name for path in examples.rglob("*")] == ["Split-train", "a.gz"]
        assert statistics.is_dir()
        write(statistics, "Split-train/FeatureStats.pb")
        write(statistics.parent, ".temp/scratch")
        assert moved.uris == {str(examples): "minio://bucket/examples", str(statistics): "minio://bucket/statistics"}
        assert (moved.pipeline_run_id, moved.output_file) == (local.pipeline_run_id, local.output_file)
    output = folder / "statistics"
    assert [path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()] == [
        "Split-train/FeatureStats.pb"
    ]
    assert list(shared.iterdir()) == []


def test_failed_step_leaves_nothing_anywhere(local: LocalInput, folder: Path, tmp_path: Path) -> None:
    def fail() -> None:
        with staged(local, tmp_path / "shared") as moved:
            write(Path(moved.outputs[0][1]["uri"]), "half")
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        fail()
    assert list((tmp_path / "shared").iterdir()) == []
    assert list((folder / "statistics").iterdir()) == []
