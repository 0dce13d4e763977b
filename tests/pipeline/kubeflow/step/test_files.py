from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.kubeflow.step.executor_input import LocalInput
from pipeline.kubeflow.step.failure import KubeflowStepError
from pipeline.kubeflow.step.files import (
    count_files,
    count_output_files,
    drop_missing_baseline,
    make_outputs,
    require_inputs,
)

Json = dict[str, Any]

MakeStep = Callable[..., LocalInput]


@pytest.fixture
def make_step(tmp_path: Path) -> MakeStep:
    """Makes a step with one artifact of a kind; its files are made by the tests."""

    def make(side: str, key: str, title: str = "tfx.Model", **metadata: Any) -> LocalInput:
        path = str(tmp_path / "minio" / "bucket" / key)
        schema = {"instanceSchema": f"title: {title}\ntype: object\n"}
        artifacts = {key: {"artifacts": [{"uri": path, "type": schema, "metadata": metadata}]}}
        executor_input: Json = {
            "inputs": {"parameterValues": {}, "artifacts": artifacts if side == "inputs" else {}},
            "outputs": {
                "artifacts": artifacts if side == "outputs" else {},
                "outputFile": str(tmp_path / "minio" / "bucket" / "output_metadata.json"),
            },
        }
        return LocalInput(executor_input, {path: f"minio://bucket/{key}"}, None)

    return make


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("content")


@pytest.mark.parametrize("kind", ["Bytes", "String", "Boolean", "Integer", "Float", "JsonValue"])
def test_f5_a_value_gets_no_folder_in_its_place(kind: str, make_step: MakeStep, tmp_path: Path) -> None:
    make_outputs(make_step("outputs", "value", f"tfx.{kind}"))
    assert (tmp_path / "minio" / "bucket").is_dir()
    assert not (tmp_path / "minio" / "bucket" / "value").exists()


def test_f5_every_other_artifact_gets_its_folder(make_step: MakeStep, tmp_path: Path) -> None:
    make_outputs(make_step("outputs", "model"))
    assert (tmp_path / "minio" / "bucket" / "model").is_dir()


def test_outputs_that_stay_in_the_store_get_no_folder(make_step: MakeStep, tmp_path: Path) -> None:
    step = make_step("outputs", "model")
    kept = LocalInput(step.executor_input, {}, None)
    make_outputs(kept)
    require_inputs(kept)
    assert not (tmp_path / "minio" / "bucket" / "model").exists()
    assert count_output_files(kept) == {}


@pytest.mark.parametrize("metadata", [{}, {"num_files": 0.0}])
@pytest.mark.parametrize("has_folder", [True, False])
def test_f7_a_baseline_without_files_is_none(
    has_folder: bool, metadata: Json, make_step: MakeStep, tmp_path: Path
) -> None:
    if has_folder:
        (tmp_path / "minio" / "bucket" / "baseline_model").mkdir(parents=True)
    assert drop_missing_baseline(make_step("inputs", "baseline_model", **metadata)).inputs == {}


def test_f7_a_baseline_that_is_there_stays(make_step: MakeStep, tmp_path: Path) -> None:
    write(tmp_path / "minio" / "bucket" / "baseline_model", "saved_model.pb")
    step = drop_missing_baseline(make_step("inputs", "baseline_model"))
    assert list(step.inputs) == ["baseline_model"]
    require_inputs(step)


def test_f7_a_baseline_that_somebody_removed_is_missed(make_step: MakeStep) -> None:
    step = drop_missing_baseline(make_step("inputs", "baseline_model", num_files=3.0))
    with pytest.raises(
        KubeflowStepError, match=r'^input artifact "baseline_model" \(minio://bucket/baseline_model\): n'
    ):
        require_inputs(step)


def test_f7_no_other_input_may_be_missing(make_step: MakeStep) -> None:
    step = drop_missing_baseline(make_step("inputs", "examples"))
    with pytest.raises(
        KubeflowStepError,
        match=r'^input artifact "examples" \(minio://bucket/examples\): nothing there; '
        "the step that wrote it has to run again: start a new run with caching off, ",
    ):
        require_inputs(step)


def test_an_input_that_was_empty_from_the_start_is_complete(make_step: MakeStep) -> None:
    require_inputs(make_step("inputs", "pushed_model", num_files=0.0))


def test_an_input_that_has_lost_some_files_is_refused(make_step: MakeStep, tmp_path: Path) -> None:
    folder = tmp_path / "minio" / "bucket" / "examples"
    write(folder, "Split-train/a.gz", "Split-train/b.gz", "Split-eval/a.gz")
    step = make_step("inputs", "examples", num_files=3.0)
    require_inputs(step)
    (folder / "Split-train" / "b.gz").unlink()
    (folder / "Split-eval" / "a.gz").unlink()
    with pytest.raises(
        KubeflowStepError, match=r"\(minio://bucket/examples\): 2 of its 3 files are not there; the step"
    ):
        require_inputs(step)


def test_files_are_counted_in_all_folders(make_step: MakeStep, tmp_path: Path) -> None:
    folder = tmp_path / "minio" / "bucket" / "model"
    write(folder, "a", "b/c", "b/d/e")
    assert count_output_files(make_step("outputs", "model")) == {"model": 3}
    assert (count_files(folder / "a"), count_files(folder / "absent")) == (1, 0)
