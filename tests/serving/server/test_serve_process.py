"""`digits serve` as a whole process."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

PROJECT_ROOT = Path(__file__).parents[3]
IMAGE = np.zeros((1, 28, 28), np.float32)
MEBIBYTE = 2**20
"""What the allocators of three libraries may keep for the next request."""
ALLOWED_GROWTH = 150 * MEBIBYTE


@contextmanager
def serving(workspace: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen, dict[str, str], list[str]]]:
    """Starts the command, and reads what it says until it is ready: its addresses by their names."""
    command = [
        sys.executable,
        "-m",
        "pipeline.cli.main",
        "serve",
        "--workspace",
        str(workspace),
        "--config",
        os.devnull,
    ]
    with subprocess.Popen(
        [*command, "--rest-port", "0", "--grpc-port", "0", *arguments],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        said: list[str] = []
        for line in process.stdout or ():
            said.append(line)
            if "curl" in line:
                break
        found = re.findall(r"^(REST|gRPC|Metrics|Web page) +(\S+)$", "".join(said), re.MULTILINE)
        try:
            yield process, dict(found), said
        finally:
            process.kill()


def ask_grpc(address: str, images: np.ndarray) -> Any:
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "digits", "pixels"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(images))
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        return PredictionServiceStub(channel).Predict(request, timeout=60).outputs["digit"].int64_val


@pytest.fixture
def workspace(tmp_path: Path, tiny_model: Callable[..., Path]) -> Path:
    (tmp_path / "serving" / "digits").mkdir(parents=True)
    tiny_model(tmp_path / "serving" / "digits", 3)
    return tmp_path


def test_it_answers_both_apis_keeps_its_memory_and_ends_with_zero(workspace: Path) -> None:
    with serving(workspace) as (process, addresses, said):
        url = addresses["REST"] + ":predict"
        good = {"signature_name": "pixels", "instances": IMAGE.tolist()}

        def send_large() -> None:
            assert requests.post(url, data=iter([b"1" * MEBIBYTE] * 100), timeout=60).status_code == 400
            assert requests.post(url, data=b"[" + b"1," * (30 * MEBIBYTE), timeout=60).status_code == 400
            with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
                ask_grpc(addresses["gRPC"], np.zeros((32_000, 28, 28), np.float32))

        send_large()
        before = psutil.Process(process.pid).memory_info().rss
        for _ in range(2):
            send_large()
        grown = psutil.Process(process.pid).memory_info().rss - before
        assert requests.post(url, json=good, timeout=60).json()["predictions"][0]["digit"] == 3
        assert ask_grpc(addresses["gRPC"], IMAGE) == [3]
        assert requests.get(addresses["Metrics"], timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        said += process.communicate(timeout=60)[0].splitlines(keepends=True)
    assert grown < ALLOWED_GROWTH
    assert process.returncode == 0, said
    assert said[0] == "This is a server for development. For production use TF Serving: see docs/serving.md.\n"
    assert "digits: version 3 answers\n" in said
    assert said[-1] == "Stopped.\n"


def test_without_a_version_it_says_where_it_looks_and_waits(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, addresses, said):
        assert requests.get(addresses["REST"], timeout=60).status_code == 404
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert (
        f"There is no version in {tmp_path / 'serving' / 'digits'} yet; the first is served when it is pushed.\n"
        in said
    )
