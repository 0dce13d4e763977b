import json
from pathlib import Path
from typing import Any

from pipeline.kubeflow.step.executor_output import globalize, write_output

URIS = {
    "/minio/mlpipeline/run/Evaluator/uuid/blessing": "minio://mlpipeline/run/Evaluator/uuid/blessing",
    "/minio/mlpipeline/run/Trainer/uuid/model": "minio://mlpipeline/run/Trainer/uuid/model",
    "/digits/serving/digits": "s3://bucket/serving/digits",
}


def globalized(metadata: dict[str, Any], **num_files: int) -> dict[str, Any]:
    uri = "/minio/mlpipeline/run/Evaluator/uuid/blessing"
    output = {"artifacts": {"blessing": {"artifacts": [{"name": "blessing", "uri": uri, "metadata": metadata}]}}}
    before = json.dumps(output)
    [artifact] = globalize(output, URIS, num_files)["artifacts"]["blessing"]["artifacts"]
    assert json.dumps(output) == before
    assert (artifact["name"], artifact["uri"]) == ("blessing", URIS[uri])
    found: dict[str, Any] = artifact["metadata"]
    return found


def test_f6_paths_of_the_pod_become_uris() -> None:
    metadata = {
        "current_model": "/minio/mlpipeline/run/Trainer/uuid/model",
        "export": "/minio/mlpipeline/run/Trainer/uuid/model/Format-Serving",
        "nested": {"models": ["/minio/mlpipeline/run/Trainer/uuid/model", 1.0]},
        "pushed_destination": "/digits/serving/digits/17",
    }
    assert globalized(metadata) == {
        "current_model": "minio://mlpipeline/run/Trainer/uuid/model",
        "export": "minio://mlpipeline/run/Trainer/uuid/model/Format-Serving",
        "nested": {"models": ["minio://mlpipeline/run/Trainer/uuid/model", 1.0]},
        "pushed_destination": "s3://bucket/serving/digits/17",
    }


def test_f6_other_values_stay() -> None:
    metadata = {
        "of another name": "/minio/mlpipeline/run/Trainer/uuid/model-2",
        "inside": "see /minio/mlpipeline/run/Trainer/uuid/model",
        "uri": "/app/data/mnist.npz",
        "passed": 1.0,
        "version": "",
    }
    assert globalized(metadata) == metadata


def test_f6_what_has_no_value_is_dropped() -> None:
    assert globalized({"span": 0.0, "version": None}) == {"span": 0.0}


def test_outputs_say_how_many_files_they_have() -> None:
    assert globalized({"span": 0.0}, blessing=2, other=5) == {"span": 0.0, "num_files": 2}


def test_the_output_file_is_complete_and_alone(tmp_path: Path) -> None:
    write_output({"artifacts": {}}, tmp_path / "output_metadata.json")
    assert [path.name for path in tmp_path.iterdir()] == ["output_metadata.json"]
    assert json.loads((tmp_path / "output_metadata.json").read_text()) == {"artifacts": {}}
