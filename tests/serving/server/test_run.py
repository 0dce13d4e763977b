import asyncio
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import requests
import tensorflow as tf
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from serving.server import run
from serving.server.interface import ServerOptions
from serving.server.model import LoadedModel
from serving.server.run import AddressError, Addresses, running_server
from tests.support.serve_process import digits_serve

Publish = Callable[..., Path]

IMAGE = {"signature_name": "pixels", "instances": np.zeros((1, 28, 28)).tolist()}
# With the empty settings of a client.
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
MEBIBYTE = 2**20
ALLOWED_GROWTH = 30 * MEBIBYTE
"""Half the size of the smallest of the large requests."""


def start(root: Path, addresses: Addresses) -> None:
    async def main() -> None:
        async with running_server(ServerOptions(root), addresses, lambda line: None):
            pass

    asyncio.run(main())


@pytest.mark.parametrize("api", ["REST", "gRPC"])
def test_a_port_in_use(running: Any, tmp_path: Path, api: str) -> None:
    taken = running.addresses
    port = taken.rest_port if api == "REST" else taken.grpc_port
    addresses = Addresses(rest_port=port, grpc_port=0) if api == "REST" else Addresses(rest_port=0, grpc_port=port)
    with pytest.raises(AddressError, match=f"127.0.0.1:{port}, for {api}: .*--{api.lower()}-port"):
        start(tmp_path, addresses)


def test_a_host_of_another_machine(tmp_path: Path) -> None:
    # RFC 5737: an address for documentation.
    with pytest.raises(AddressError, match="192.0.2.1:0, for REST: Cannot assign requested address.*--host"):
        start(tmp_path, Addresses("192.0.2.1", 0, 0))


def test_ipv6_addresses_have_brackets() -> None:
    addresses = Addresses("::1", 1, 2)
    assert (addresses.rest_url, addresses.grpc_target) == ("http://[::1]:1", "[::1]:2")


def test_connections_above_the_limit_are_refused_in_http(run_in_thread: Callable, tmp_path: Path) -> None:
    with run_in_thread(tmp_path, max_connections=2) as server, ExitStack() as stack:
        first, second, third = (stack.enter_context(connect(server.addresses.rest_port)) for _ in range(3))
        for connection in (third, first):
            connection.sendall(b"GET /v1/models/digits HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
        answers = [connection.recv(4096) for connection in (third, first)]
        # The client may send the rest of its request, and gets the whole answer before the end of the connection.
        third.sendall(bytes(100))
        assert third.recv(4096) == b""
        assert [answer[:13] for answer in answers] == [b"HTTP/1.1 503 ", b"HTTP/1.1 404 "]
        assert b"\r\nRetry-After: 1\r\n" in answers[0]
        assert b"The server has 2 open connections, its limit" in answers[0]
        second.close()
        wait_until(lambda: requests.get(server.model_url, timeout=60).status_code == 404)


def test_grpc_connections_above_the_limit_are_closed(run_in_thread: Callable, tmp_path: Path) -> None:
    with run_in_thread(tmp_path, max_connections=1) as server, connect(server.addresses.grpc_port) as first:
        first.sendall(HTTP2_PREFACE)
        # The settings of the server.
        assert first.recv(4096)
        with connect(server.addresses.grpc_port) as second:
            second.sendall(HTTP2_PREFACE)
            assert is_closed(second)


@pytest.mark.parametrize(
    ("api", "sent"),
    [
        ("rest_port", b""),
        ("rest_port", b"POST /v1/models/digits:predict HTTP/1.1\r\nContent-"),
        ("grpc_port", b""),
        ("grpc_port", HTTP2_PREFACE),
    ],
)
def test_connections_without_a_request_are_closed(
    run_in_thread: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str, sent: bytes
) -> None:
    monkeypatch.setattr(run, "_KEEP_ALIVE_SECONDS", 0.2)
    monkeypatch.setattr(run, "_HANDSHAKE_SECONDS", 0.2)
    with run_in_thread(tmp_path) as server, connect(getattr(server.addresses, api)) as connection:
        connection.sendall(sent)
        assert is_closed(connection)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def is_closed(connection: socket.socket) -> bool:
    """Waits until the server has closed a connection."""
    with suppress(ConnectionResetError):
        while connection.recv(4096):
            pass
    return True


def test_version_changes_are_announced(tiny_model: Publish, run_in_thread: Callable, tmp_path: Path) -> None:
    with run_in_thread(tmp_path) as server:
        assert requests.get(server.model_url, timeout=60).status_code == 404
        (tmp_path / "digits").mkdir()
        tiny_model(tmp_path / "digits", 7)
        wait_until(lambda: "digits: version 7 is available" in server.said)
        assert (
            requests.post(f"{server.model_url}:predict", json=IMAGE, timeout=60).json()["predictions"][0]["label"]
            == "7"
        )


def test_health_follows_the_versions(tiny_model: Publish, run_in_thread: Callable, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    with (
        run_in_thread(tmp_path) as server,
        grpc.insecure_channel(server.addresses.grpc_target) as channel,
    ):
        health = HealthStub(channel)

        def is_serving() -> bool:
            return health.Check(HealthCheckRequest(), timeout=60).status == HealthCheckResponse.SERVING

        assert not is_serving()
        version = tiny_model(tmp_path / "digits", 7)
        wait_until(is_serving)
        version.rename(tmp_path / "gone")
        wait_until(lambda: not is_serving())
        with pytest.raises(grpc.RpcError, match="no Watch; call Check"):
            next(health.Watch(HealthCheckRequest(), timeout=60))


def test_running_requests_are_answered_before_the_end(
    tiny_model: Publish, run_in_thread: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits").mkdir()
    tiny_model(tmp_path / "digits", 1, warm_up=False)
    arrived, has_answer, run = Event(), Event(), LoadedModel.run

    def run_slowly(*arguments: Any) -> Any:
        arrived.set()
        wait_until(lambda: not is_listening(server.addresses))
        # A server that does not wait would close the connection at once.
        assert not has_answer.wait(0.3)
        return run(*arguments)

    monkeypatch.setattr(LoadedModel, "run", run_slowly)
    with ThreadPoolExecutor() as client, run_in_thread(tmp_path) as server:
        answer = client.submit(requests.post, f"{server.model_url}:predict", json=IMAGE, timeout=60)
        answer.add_done_callback(lambda _: has_answer.set())
        assert arrived.wait(60)
    assert answer.result().status_code == 200


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_listening(addresses: Addresses) -> bool:
    try:
        socket.create_connection((addresses.host, addresses.rest_port)).close()
    except ConnectionRefusedError:
        return False
    return True


def ask_grpc(address: str, images: np.ndarray) -> Any:
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "digits", "pixels"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(images))
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        return PredictionServiceStub(channel).Predict(request, timeout=60).outputs["label"].string_val


@pytest.fixture
def workspace(tmp_path: Path, tiny_model: Callable[..., Path]) -> Path:
    (tmp_path / "serving" / "digits").mkdir(parents=True)
    tiny_model(tmp_path / "serving" / "digits", 3)
    return tmp_path


@pytest.mark.slow
def test_the_process_serves_both_apis_without_a_memory_leak_and_exits_with_zero(workspace: Path) -> None:
    with digits_serve(workspace) as served:
        process, grpc_address, said = served.process, served.address("gRPC"), served.lines
        url = served.address("REST") + ":predict"

        def send_large() -> None:
            assert requests.post(url, data=iter([b"1" * MEBIBYTE] * 100), timeout=60).status_code == 400
            assert requests.post(url, data=b"[" + b"1," * (30 * MEBIBYTE), timeout=60).status_code == 400
            with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
                ask_grpc(grpc_address, np.zeros((32_000, 28, 28), np.float32))

        sizes = []
        for _ in range(6):
            send_large()
            sizes.append(psutil.Process(process.pid).memory_info().rss)
        assert requests.post(url, json=IMAGE, timeout=60).json()["predictions"][0]["label"] == "3"
        assert ask_grpc(grpc_address, np.zeros((1, 28, 28), np.float32)) == [b"3"]
        assert requests.get(served.address("Metrics"), timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        said += process.communicate(timeout=60)[0].splitlines(keepends=True)
    # A leak grows in every round; the memory that allocators keep grows only in some.
    assert np.median(np.diff(sizes)) < ALLOWED_GROWTH, sizes
    assert process.returncode == 0, said
    assert said[0] == "This is a development server. For production, use TF Serving: docs/serving.md.\n"
    assert "digits: version 3 is available\n" in said
    assert said[-1] == "Stopped.\n"


def test_the_process_waits_for_the_first_version(tmp_path: Path) -> None:
    with digits_serve(tmp_path) as served:
        assert requests.get(served.address("REST"), timeout=60).status_code == 404
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(60) == 0
    expected = f"{tmp_path / 'serving' / 'digits'} has no version yet; the first one is served once it is pushed.\n"
    assert expected in served.lines
