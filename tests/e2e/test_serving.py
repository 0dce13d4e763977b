"""What a run has pushed, served by `digits serve`: README's request, and images that no server may trip over."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from benchmarks.serving.measurements import large_png
from tests.support.documentation import read_page
from tests.support.serve_process import digits_serve

PROJECT_ROOT = Path(__file__).parents[2]
SEVEN = (PROJECT_ROOT / "data" / "samples" / "7-pencil.png").read_bytes()
ADDRESS = "localhost:8501"
"""What README says."""


@pytest.fixture(scope="module")
def served(first_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """The process, and where it answers."""
    workspace = tmp_path_factory.mktemp("served")
    shutil.copytree(first_run.result["model"], workspace / "serving" / "digits" / "1")
    with digits_serve(workspace) as server:
        rest = server.address("REST").removeprefix("http://").partition("/")[0]
        yield {"process": server.process, "rest": rest, "grpc": server.address("gRPC")}
    # Although nobody reads its last lines.
    assert server.process.returncode == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_request_of_readme_is_answered_as_readme_says(served: Mapping[str, Any]) -> None:
    readme = read_page("README.md")
    (command,) = [command.text for command in readme.commands if command.text.startswith("curl")]
    (answer,) = [block.content for block in readme.blocks if block.info == "json"]
    assert ADDRESS in command
    process = subprocess.run(
        ["bash", "-c", command.replace(ADDRESS, served["rest"])],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    ((said,), (shown,)) = (json.loads(text)["predictions"] for text in (process.stdout, answer))
    assert said.keys() == shown.keys()
    assert said["label"] == shown["label"] == "7"
    assert said["status"] == shown["status"] == "ok"


def test_the_official_client_gets_the_same_answer(served: Mapping[str, Any]) -> None:
    answer = predict(served, SEVEN)
    assert answer.outputs["label"].string_val[:] == [b"7"]
    assert answer.model_spec.version.value == 1


@pytest.mark.parametrize("kind", ["huge", "truncated", "text"])
def test_a_bad_image_is_refused_over_both_apis_and_does_no_harm(served: Mapping[str, Any], kind: str) -> None:
    image = {"huge": lambda: large_png(30_000), "truncated": lambda: SEVEN[:200], "text": lambda: b"seven\n"}[kind]()
    process = psutil.Process(served["process"].pid)
    predict(served, SEVEN)
    before = process.memory_info().rss
    url = f"http://{served['rest']}/v1/models/digits:predict"
    response = requests.post(url, json={"instances": [{"b64": base64.b64encode(image).decode()}]}, timeout=60)
    assert (response.status_code, list(response.json())) == (400, ["error"])
    with pytest.raises(grpc.RpcError) as error:
        predict(served, image)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert predict(served, SEVEN).outputs["label"].string_val[:] == [b"7"]
    # Decoded, the huge one takes 900 MB.
    assert process.memory_info().rss < before + 200 * 2**20


def test_a_signature_that_is_not_there(served: Mapping[str, Any]) -> None:
    with pytest.raises(grpc.RpcError, match='Serving signature key "none" not found') as error:
        predict(served, SEVEN, signature="none")
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_blank_page_is_an_answer(served: Mapping[str, Any]) -> None:
    answer = predict(served, large_png(100))
    assert (answer.outputs["label"].string_val[:], answer.outputs["status"].string_val[:]) == ([b""], [b"blank"])


def predict(served: Mapping[str, Any], image: bytes, signature: str = "") -> Any:
    request = PredictRequest()
    request.model_spec.name = "digits"
    request.model_spec.signature_name = signature
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
    with grpc.insecure_channel(served["grpc"]) as channel:
        return PredictionServiceStub(channel).Predict(request, timeout=60)
