import asyncio
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.server.interface import ServingError, Tensors
from serving.server.model import LoadedModel
from serving.server.model_server import ModelServer

Publish = Callable[..., Path]
Serve = Callable[..., Any]

TWO_VERSIONS = """
model_config_list { config {
  name: "digits"
  model_version_policy { latest { num_versions: 2 } }
  version_labels { key: "stable" value: 1 }
  version_labels { key: "canary" value: 2 }
  version_labels { key: "gone" value: 3 }
} }
"""


def spec(version: int | None = None, label: str = "", name: str = "digits", signature: str = "pixels") -> ModelSpec:
    made = ModelSpec(name=name, signature_name=signature)
    if version is not None:
        made.version.value = version
    if label:
        made.version_label = label
    return made


async def answering(server: ModelServer, images: np.ndarray, **fields: Any) -> int:
    """Returns the version that answers, after a check that the whole answer is its own."""
    answered, outputs = await server.predict(spec(**fields), {"image": images})
    assert outputs["confidence"].tolist() == [answered.version.value] * len(images)
    return answered.version.value


async def test_an_answer_names_its_version_and_signature(
    root: Path, serve: Serve, tiny_model: Publish, png: bytes
) -> None:
    tiny_model(root / "digits", 5)

    async with serve(root) as (server, _):
        inputs = {"image_bytes": np.array([png, png, png], object)}
        answered, outputs = await server.predict(spec(signature=""), inputs, api="GRPC")
        assert answered == spec(5, signature="serving_default")
        assert outputs["label"].tolist() == [b"5"] * 3
        page = server.metrics.page().decode()
        assert ':tensorflow:serving:request_count{model_name="digits",status="OK"} 1.0' in page
        assert ':tensorflow:serving:request_example_counts_sum{model="digits"} 3.0' in page
        assert 'API="Predict",entrypoint="GRPC",model_name="digits"} 1.0' in page


async def test_versions_and_labels_of_models_config(
    root: Path, serve: Serve, tiny_model: Publish, pixels: np.ndarray
) -> None:
    for version in (1, 2):
        tiny_model(root / "digits", version)
    (root / "models.config").write_text(TWO_VERSIONS)

    async with serve(root) as (server, _):
        choices: list[tuple[dict[str, Any], int]] = [
            ({}, 2),
            ({"version": 1}, 1),
            ({"label": "stable"}, 1),
            ({"label": "canary"}, 2),
        ]
        for choice, expected in choices:
            assert await answering(server, pixels, **choice) == expected
        assert server.signatures(spec(label="stable"))[0] == 1
        number, signatures = server.signatures(spec())
        assert (number, set(signatures)) == (2, {"serving_default", "pixels", "examples", "normalize"})
        assert [status.version for status in server.statuses(spec())] == [2, 1]
        (status,) = server.statuses(spec(label="stable"))
        assert (status.version, status.state) == (1, ModelVersionStatus.AVAILABLE)


@pytest.mark.parametrize(
    ("target", "inputs", "outputs", "code", "message"),
    [
        (spec(name="none"), None, (), "NOT_FOUND", r"^Servable not found for request: Latest\(none\)$"),
        (spec(3, name="none"), None, (), "NOT_FOUND", r"^Servable not found for request: Specific\(none, 3\)$"),
        (spec(3), None, (), "NOT_FOUND", r"^Servable not found for request: Specific\(digits, 3\)$"),
        (spec(label="gone"), None, (), "NOT_FOUND", r"^Servable not found for request: Specific\(digits, 3\)$"),
        (spec(label="none"), None, (), "INVALID_ARGUMENT", "^Unrecognized servable version label: none$"),
        (spec(signature="none"), None, (), "INVALID_ARGUMENT", '^Serving signature key "none" not found.$'),
        (spec(), 3, (), "INVALID_ARGUMENT", "^Task size 3 is larger than maximum input batch size 2$"),
        (spec(), 0, (), "INVALID_ARGUMENT", "^The batch is empty; expected at least one image.$"),
        (spec(), None, ("logits",), "INVALID_ARGUMENT", "^output tensor alias not found in signature: logits"),
    ],
)
async def test_bad_requests_are_refused_and_counted(
    root: Path,
    serve: Serve,
    tiny_model: Publish,
    pixels: np.ndarray,
    target: ModelSpec,
    inputs: int | None,
    outputs: tuple[str, ...],
    code: str,
    message: str,
) -> None:
    tiny_model(root / "digits", 2)
    (root / "models.config").write_text(TWO_VERSIONS)

    async with serve(root, max_batch_size=2) as (server, _):
        images = pixels if inputs is None else np.zeros((inputs, 28, 28), np.float32)
        with pytest.raises(ServingError, match=message) as error:
            await server.predict(target, {"image": images}, outputs)
        assert error.value.code.name == code
        # Clients cannot create metrics by inventing names.
        name = "" if target.name == "none" else "digits"
        counted = f':tensorflow:serving:request_count{{model_name="{name}",status="{code}"}} 1.0'
        assert counted in server.metrics.page().decode()
        assert await answering(server, pixels) == 2


class Gate:
    """Blocks calls with one image until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrived = Event()
        self._opened = Event()
        self._run = LoadedModel.run
        gate = self

        def run(model: LoadedModel, signature: str, inputs: Tensors, outputs: Any = ()) -> Tensors:
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


@pytest.mark.slow
async def test_swaps_under_load_fail_no_request_and_mix_no_versions(
    root: Path, serve: Serve, tiny_model: Publish, pixels: np.ndarray
) -> None:
    num_swaps = 20
    answers: Counter[int] = Counter()
    tiny_model(root / "digits", 1)

    async def client(server: ModelServer, is_over: asyncio.Event) -> None:
        newest = 0
        while not is_over.is_set():
            version = await answering(server, pixels)
            assert version >= newest
            newest = version
            answers[newest] += 1

    async with serve(root) as (server, changes):
        is_over = asyncio.Event()
        clients = [asyncio.create_task(client(server, is_over)) for _ in range(8)]
        for version in range(2, num_swaps + 2):
            await asyncio.to_thread(tiny_model, root / "digits", version)
            await changes.wait_for(version - 1, "END")
        is_over.set()
        await asyncio.gather(*clients)
        status = server.statuses(spec())[0]
        assert (status.version, status.state) == (num_swaps + 1, ModelVersionStatus.AVAILABLE)
    assert set(answers) >= set(range(2, num_swaps + 1))


async def test_a_version_is_unloaded_after_its_running_requests(
    root: Path, serve: Serve, tiny_model: Publish, pixels: np.ndarray, gate: Gate
) -> None:
    tiny_model(root / "digits", 1, warm_up=False)

    async with serve(root) as (server, changes):
        session = weakref.ref(server._watcher.models["digits"].find(None).model._session)
        running = asyncio.create_task(answering(server, pixels[:1]))
        await gate.wait_for_arrival()
        tiny_model(root / "digits", 2, warm_up=False)
        await changes.wait_for(1, "UNLOADING")
        assert await answering(server, pixels) == 2
        with pytest.raises(ServingError, match=r"Specific\(digits, 1\)"):
            await answering(server, pixels, version=1)
        assert session() is not None
        assert ("digits", 1, "END") not in changes.reached
        gate.open()
        assert await running == 1
        await changes.wait_for(1, "END")
        async with asyncio.timeout(60):
            while session():
                await asyncio.sleep(0.01)


async def test_a_stopping_server_answers_running_requests_only(
    root: Path, serve: Serve, tiny_model: Publish, pixels: np.ndarray, gate: Gate
) -> None:
    tiny_model(root / "digits", 1, warm_up=False)

    async with serve(root, grace_seconds=60) as (server, _):
        running = asyncio.create_task(answering(server, pixels[:1]))
        await gate.wait_for_arrival()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="is stopping") as error:
            await answering(server, pixels)
        assert error.value.code is grpc.StatusCode.UNAVAILABLE
        gate.open()
        assert await running == 1
        await stopping
        (status,) = server.statuses(spec())
        assert status.state == ModelVersionStatus.END


async def test_a_request_that_outlasts_the_grace_period_fails(
    root: Path, serve: Serve, tiny_model: Publish, pixels: np.ndarray, gate: Gate
) -> None:
    tiny_model(root / "digits", 1, warm_up=False)

    async with serve(root, grace_seconds=0) as (server, changes):
        running = asyncio.create_task(answering(server, pixels[:1]))
        await gate.wait_for_arrival()
        stopping = asyncio.create_task(server.stop())
        await changes.wait_for(1, "END")
        gate.open()
        with pytest.raises(ServingError, match="closed") as error:
            await running
        assert error.value.code is grpc.StatusCode.UNAVAILABLE
        await stopping
