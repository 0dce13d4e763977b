"""The server while versions come and go, and while it is stopped."""

import asyncio
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from serving.server.errors import ErrorCode, ServingError
from serving.server.loaded_model import LoadedModel
from serving.server.model_server import ModelRequest, ModelServer, VersionState, VersionStatus

Publish = Callable[..., Path]
Serve = Callable[..., Any]
RequestFor = Callable[..., ModelRequest]


class Gate:
    """Holds up requests in the middle of their calculation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrived = Event()
        self._opened = Event()
        self._run = LoadedModel.run
        gate = self

        def run(model: LoadedModel, signature: str, inputs: Mapping[str, Any], outputs: Any = ()) -> dict[str, Any]:
            if signature == "pixels" and len(inputs["image"]) == 1:
                gate.arrived.set()
                gate._opened.wait(60)
            return gate._run(model, signature, inputs, outputs)

        monkeypatch.setattr(LoadedModel, "run", run)

    def open(self) -> None:
        self._opened.set()

    async def wait_for_arrival(self) -> None:
        assert await asyncio.to_thread(self.arrived.wait, 60)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_swaps_under_load_fail_no_request_and_mix_no_versions(
    root: Path, serve: Serve, tiny_model: Publish, request_for: RequestFor, pixels: np.ndarray
) -> None:
    num_swaps = 20
    answers: Counter[int] = Counter()
    tiny_model(root / "digits", 1)

    async def client(server: ModelServer, is_over: asyncio.Event) -> None:
        newest = 0
        while not is_over.is_set():
            answer = await server.predict(request_for(pixels))
            assert answer.outputs["confidence"].tolist() == [answer.version] * 2
            assert answer.version >= newest
            newest = answer.version
            answers[newest] += 1

    async def scenario() -> None:
        async with serve(root) as (server, notes):
            is_over = asyncio.Event()
            clients = [asyncio.create_task(client(server, is_over)) for _ in range(8)]
            for version in range(2, num_swaps + 2):
                await asyncio.to_thread(tiny_model, root / "digits", version)
                await notes.wait_for(version - 1, VersionState.END)
            is_over.set()
            await asyncio.gather(*clients)
            assert not [note for note in notes.requests if note.error]
            assert server.statuses("digits")[0] == VersionStatus(num_swaps + 1, VersionState.AVAILABLE)

    asyncio.run(scenario())
    assert set(answers) >= set(range(2, num_swaps + 1))


def test_a_running_request_is_answered_by_its_version_which_goes_afterwards(
    root: Path, serve: Serve, tiny_model: Publish, request_for: RequestFor, pixels: np.ndarray, gate: Gate
) -> None:
    tiny_model(root / "digits", 1, warm_up=False)

    async def scenario() -> None:
        async with serve(root) as (server, notes):
            session = weakref.ref(server._watcher.models["digits"].find(None).model._session)
            running = asyncio.create_task(server.predict(request_for(pixels[:1])))
            await gate.wait_for_arrival()
            tiny_model(root / "digits", 2, warm_up=False)
            await notes.wait_for(1, VersionState.UNLOADING)
            assert (await server.predict(request_for(pixels))).version == 2
            with pytest.raises(ServingError, match=r"Specific\(digits, 1\)"):
                await server.predict(request_for(pixels, version=1))
            assert session() is not None
            assert (1, VersionState.END) not in notes.reached
            gate.open()
            answer = await running
            assert (answer.version, answer.outputs["confidence"].tolist()) == (1, [1])
            await notes.wait_for(1, VersionState.END)
            async with asyncio.timeout(60):
                while session():
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_a_stopping_server_answers_what_it_has_begun_and_takes_nothing_new(
    root: Path, serve: Serve, tiny_model: Publish, request_for: RequestFor, pixels: np.ndarray, gate: Gate
) -> None:
    tiny_model(root / "digits", 1, warm_up=False)

    async def scenario() -> None:
        async with serve(root, grace_seconds=60) as (server, _):
            running = asyncio.create_task(server.predict(request_for(pixels[:1])))
            await gate.wait_for_arrival()
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0)
            with pytest.raises(ServingError, match="being stopped") as error:
                await server.predict(request_for(pixels))
            assert error.value.code == ErrorCode.UNAVAILABLE
            gate.open()
            assert (await running).version == 1
            await stopping
            assert server.statuses("digits") == [VersionStatus(1, VersionState.END)]

    asyncio.run(scenario())


def test_a_request_that_outlasts_the_grace_period_is_refused(
    root: Path, serve: Serve, tiny_model: Publish, request_for: RequestFor, pixels: np.ndarray, gate: Gate
) -> None:
    tiny_model(root / "digits", 1, warm_up=False)

    async def scenario() -> None:
        async with serve(root, grace_seconds=0) as (server, notes):
            running = asyncio.create_task(server.predict(request_for(pixels[:1])))
            await gate.wait_for_arrival()
            stopping = asyncio.create_task(server.stop())
            await notes.wait_for(1, VersionState.END)
            gate.open()
            with pytest.raises(ServingError, match="closed") as error:
                await running
            assert error.value.code == ErrorCode.UNAVAILABLE
            await stopping

    asyncio.run(scenario())
