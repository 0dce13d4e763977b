import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import requests

from serving.server.announcer import Announcer
from serving.server.loaded_model import LoadedModel
from serving.server.options import ServerOptions
from serving.server.run import AddressError, Addresses, running_server

Publish = Callable[..., Path]

IMAGE = {"signature_name": "pixels", "instances": np.zeros((1, 28, 28)).tolist()}


def start(root: Path, addresses: Addresses) -> None:
    async def main() -> None:
        async with running_server(ServerOptions(root), addresses, Announcer(lambda line: None)):
            pass

    asyncio.run(main())


@pytest.mark.parametrize("api", ["REST", "gRPC"])
def test_a_port_of_another_server_is_named_with_what_to_do(running: Any, tmp_path: Path, api: str) -> None:
    taken = running.addresses
    port = taken.rest_port if api == "REST" else taken.grpc_port
    addresses = Addresses(rest_port=port, grpc_port=0) if api == "REST" else Addresses(rest_port=0, grpc_port=port)
    with pytest.raises(AddressError, match=f"127.0.0.1:{port}, for {api}: .*--{api.lower()}-port"):
        start(tmp_path, addresses)


def test_a_host_of_another_machine_is_refused(tmp_path: Path) -> None:
    # RFC 5737: an address for documentation, which no machine has.
    with pytest.raises(AddressError, match="192.0.2.1:0, for REST: Cannot assign requested address.*--host"):
        start(tmp_path, Addresses("192.0.2.1", 0, 0))


def test_ipv6_addresses_are_written_in_brackets() -> None:
    addresses = Addresses("::1", 1, 2)
    assert (addresses.rest_url, addresses.grpc_target) == ("http://[::1]:1", "[::1]:2")


def test_the_first_version_is_served_when_it_is_pushed(
    tiny_model: Publish, run_in_thread: Callable, tmp_path: Path
) -> None:
    with run_in_thread(tmp_path) as server:
        assert requests.get(server.model_url, timeout=60).status_code == 404
        (tmp_path / "digits").mkdir()
        tiny_model(tmp_path / "digits", 7)
        wait_until(lambda: "digits: version 7 answers" in server.said)
        assert (
            requests.post(f"{server.model_url}:predict", json=IMAGE, timeout=60).json()["predictions"][0]["digit"] == 7
        )


def test_a_request_that_has_been_begun_is_answered_before_the_end(
    tiny_model: Publish, run_in_thread: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits").mkdir()
    tiny_model(tmp_path / "digits", 1, warm_up=False)
    arrived, has_answer, run = Event(), Event(), LoadedModel.run

    def run_slowly(*arguments: Any) -> Any:
        arrived.set()
        wait_until(lambda: not is_listening(server.addresses))
        # A server that does not wait for this hangs up at once.
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
