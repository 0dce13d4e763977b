from pathlib import Path
from typing import Any

import pytest

from pipeline.kubeflow.step.executor_input import LocalInput
from pipeline.kubeflow.step.staging import staged

KEYS = {"inputs": "examples", "outputs": "statistics"}


@pytest.fixture
def local(tmp_path: Path) -> LocalInput:
    """A step in its pod, with a file in its input and an empty folder for its output."""
    executor_input: dict[str, Any] = {
        "inputs": {"parameterValues": {}},
        "outputs": {"outputFile": str(tmp_path / "pod" / "uuid" / "output_metadata.json")},
    }
    uris = {}
    for side, key in KEYS.items():
        path = tmp_path / "pod" / "uuid" / key
        path.mkdir(parents=True)
        executor_input[side]["artifacts"] = {key: {"artifacts": [{"uri": str(path)}]}}
        uris[str(path)] = f"minio://bucket/{key}"
    (tmp_path / "pod" / "uuid" / "examples" / "Split-train").mkdir()
    (tmp_path / "pod" / "uuid" / "examples" / "Split-train" / "a.gz").write_text("records")
    return LocalInput(executor_input, uris, "run-1")


def test_a_step_runs_in_the_shared_folder_and_leaves_nothing_there(local: LocalInput, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with staged(local, shared) as moved:
        examples, statistics = (
            Path(artifacts[0]["uri"]) for artifacts in (*moved.inputs.values(), *moved.outputs.values())
        )
        assert shared in examples.parents
        assert shared in statistics.parents
        assert (examples / "Split-train" / "a.gz").read_text() == "records"
        assert statistics.is_dir()
        (statistics / "Split-train").mkdir()
        (statistics / "Split-train" / "FeatureStats.pb").write_text("statistics")
        (statistics.parent / ".temp").mkdir()
        assert moved.uris == {str(examples): "minio://bucket/examples", str(statistics): "minio://bucket/statistics"}
        assert (moved.pipeline_run_id, moved.output_file) == (local.pipeline_run_id, local.output_file)
    output = Path(local.outputs["statistics"][0]["uri"])
    assert [path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()] == [
        "Split-train/FeatureStats.pb"
    ]
    assert list(shared.iterdir()) == []


def test_a_step_that_fails_leaves_nothing_anywhere(local: LocalInput, tmp_path: Path) -> None:
    def fail() -> None:
        with staged(local, tmp_path / "shared") as moved:
            Path(moved.outputs["statistics"][0]["uri"], "FeatureStats.pb").write_text("half of")
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        fail()
    assert list((tmp_path / "shared").iterdir()) == []
    assert list(Path(local.outputs["statistics"][0]["uri"]).iterdir()) == []


def test_what_a_killed_attempt_has_left_is_not_taken_for_output(local: LocalInput, tmp_path: Path) -> None:
    leftover = tmp_path / "shared" / "uuid" / "outputs" / "statistics" / "0"
    leftover.mkdir(parents=True)
    (leftover / "FeatureStats.pb").write_text("half of")
    with staged(local, tmp_path / "shared"):
        pass
    assert list(Path(local.outputs["statistics"][0]["uri"]).iterdir()) == []
