import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from threading import Event
from typing import Any, cast

import grpc
import numpy as np
import pytest

from serving.server import inference as inference_module
from serving.server.inference import MAX_JOINED_IMAGES, Inference, InferenceQueue, run_batch
from serving.server.interface import ServingError, Tensors


class Model:
    """Returns its inputs, and refuses a batch with a negative number."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, signature: str, inputs: Tensors, outputs: Sequence[str] = ()) -> Tensors:
        self.sizes.append(len(inputs["image"]))
        if (inputs["image"] < 0).any():
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"{inputs['image'].tolist()}: below zero")
        return dict(inputs)


MODEL = Model()


def inference(*images: float, model: Any = MODEL, **fields: Any) -> Inference:
    return Inference(**{"model": model, "signature": "pixels", "inputs": {"image": np.array(images)}, **fields})


def test_joined_requests_get_their_own_rows() -> None:
    model = Model()
    answers = run_batch([inference(*images, model=model) for images in ((1, 2), (3,), (4, 5, 6))])
    assert [answer["image"].tolist() for answer in answers if isinstance(answer, dict)] == [[1, 2], [3], [4, 5, 6]]
    assert model.sizes == [6]


def test_a_bad_request_does_not_fail_others() -> None:
    model = Model()
    good, bad, other = run_batch([inference(1, model=model), inference(-1, model=model), inference(2, model=model)])
    assert isinstance(good, dict)
    assert isinstance(other, dict)
    assert (good["image"].tolist(), other["image"].tolist()) == ([1], [2])
    assert str(bad) == "[-1]: below zero"
    assert model.sizes == [3, 1, 1, 1]


class ScalarModel(Model):
    def run(self, signature: str, inputs: Tensors, outputs: Sequence[str] = ()) -> Tensors:
        return {"mean": np.array([super().run(signature, inputs)["image"].mean()])}


def test_outputs_without_rows_are_computed_one_by_one() -> None:
    model = ScalarModel()
    answers = run_batch([inference(1, 3, model=model), inference(5, model=model)])
    assert [answer["mean"].tolist() for answer in answers if isinstance(answer, dict)] == [[2], [5]]


@pytest.mark.parametrize(
    "other",
    [
        inference(1, model=Model()),
        inference(1, signature="examples"),
        inference(1, outputs=("label",)),
        inference(1, inputs={"images": np.array([1])}),
        inference(1, inputs={"image": np.array([1], np.float32)}),
        inference(1, inputs={"image": np.array([[1]])}),
        inference(1, inputs={"image": np.array(1)}),
        inference(1, inputs={"image": np.array([1]), "mask": np.array([1, 2])}),
    ],
)
def test_different_requests_are_not_joined(other: Inference) -> None:
    assert not other.can_join(inference(1))
    assert not inference(1).can_join(other)


def test_inputs_without_rows_are_not_joined() -> None:
    scalar = inference(inputs={"image": np.array(1)})
    assert not scalar.can_join(scalar)
    ragged = inference(inputs={"image": np.array([1]), "mask": np.array([1, 2])})
    assert not ragged.can_join(ragged)
    assert inference(1).can_join(inference(2, 3))


@pytest.mark.parametrize(
    ("inputs", "size"),
    [({}, 0), ({"image": np.array(1)}, 0), ({"image": np.zeros((3, 2)), "mask": np.zeros(1)}, 3)],
)
def test_the_number_of_images_is_the_longest_first_dimension(inputs: dict[str, np.ndarray], size: int) -> None:
    assert inference(inputs=inputs).num_images == size


WAITING = "waits"


@asynccontextmanager
async def queue(
    max_queue: int = 99, timeout_seconds: float = 60, max_concurrency: int = 1
) -> AsyncIterator[InferenceQueue]:
    """A queue that is closed after the context."""
    inference = InferenceQueue(max_concurrency, max_queue, timeout_seconds)
    yield inference
    await inference.close()


class Recorder:
    """A fake model that records started calls and ended requests; the name of a request is its signature."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.sizes: list[int] = []
        self.ended: list[str] = []
        self.gate = Event()

    def run(self, signature: str, inputs: Tensors, outputs: Sequence[str] = ()) -> Tensors:
        self.started.append(signature)
        self.sizes.append(len(inputs["image"]))
        if signature.startswith(WAITING):
            self.gate.wait(60)
        return {"image": inputs["image"], "name": np.array([signature] * len(inputs["image"]))}

    async def ask(self, inference: InferenceQueue, name: str, *images: int) -> str:
        values = np.array(images or (0,))
        answer = await inference.run(
            Inference(cast(Any, self), name, {"image": values}), lambda: self.ended.append(name)
        )
        assert answer["image"].tolist() == values.tolist()
        return str(answer["name"][0])


async def test_first_come_first_served() -> None:
    recorder = Recorder()
    async with queue() as inference:
        first = asyncio.create_task(recorder.ask(inference, WAITING))
        others = [asyncio.create_task(recorder.ask(inference, name)) for name in "abcd"]
        await asyncio.sleep(0)
        recorder.gate.set()
        answers = await asyncio.gather(first, *others)
    assert answers == recorder.started == [WAITING, *"abcd"]
    assert sorted(recorder.ended) == sorted(recorder.started)


async def test_small_waiting_requests_are_joined() -> None:
    recorder = Recorder()
    async with queue() as inference:
        first = asyncio.create_task(recorder.ask(inference, WAITING))
        others = [asyncio.create_task(recorder.ask(inference, "a", number)) for number in range(9)]
        larger = asyncio.create_task(recorder.ask(inference, "a", *range(10)))
        await asyncio.sleep(0)
        recorder.gate.set()
        await asyncio.gather(first, *others, larger)
    assert recorder.sizes == [1, MAX_JOINED_IMAGES, 1, 10]
    assert recorder.ended == [WAITING, *"aaaaaaaaaa"]


@pytest.mark.parametrize(
    ("running", "num_waiting", "begun"),
    [
        ((0,), MAX_JOINED_IMAGES - 1, [WAITING]),
        ((0,), MAX_JOINED_IMAGES, [WAITING, "waits too"]),
        (range(MAX_JOINED_IMAGES), 1, [WAITING, "waits too"]),
    ],
)
async def test_another_thread_starts_when_a_batch_is_full(
    monkeypatch: pytest.MonkeyPatch, running: Sequence[int], num_waiting: int, begun: list[str]
) -> None:
    monkeypatch.setattr(inference_module, "MAX_WAIT_SECONDS", 3600.0)
    recorder = Recorder()
    async with queue(max_concurrency=2) as inference:
        tasks = [asyncio.create_task(recorder.ask(inference, WAITING, *running))]
        tasks += [asyncio.create_task(recorder.ask(inference, "waits too")) for _ in range(num_waiting)]
        while len(recorder.started) < len(begun):
            await asyncio.sleep(0)
        assert recorder.started == begun
        recorder.gate.set()
        await asyncio.gather(*tasks)


async def test_a_free_thread_leaves_no_request_waiting_for_long() -> None:
    recorder = Recorder()
    async with queue(max_concurrency=2) as inference:
        slow = asyncio.create_task(recorder.ask(inference, WAITING))
        assert await recorder.ask(inference, "next") == "next"
        recorder.gate.set()
        await slow


async def test_a_full_queue_refuses_requests_until_there_is_room() -> None:
    recorder = Recorder()
    async with queue(max_queue=1) as inference:
        tasks = [asyncio.create_task(recorder.ask(inference, name)) for name in (WAITING, "next")]
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="queue to which this task was submitted is full") as error:
            await recorder.ask(inference, "refused")
        assert error.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        recorder.gate.set()
        await asyncio.gather(*tasks)
        assert await recorder.ask(inference, "later") == "later"
    assert recorder.started == [WAITING, "next", "later"]
    assert recorder.ended == ["refused", WAITING, "next", "later"]


async def test_waiting_images_are_limited() -> None:
    recorder = Recorder()
    async with queue(max_queue=9) as inference:
        tasks = [asyncio.create_task(recorder.ask(inference, WAITING))]
        # A request may be larger than the limit.
        tasks.append(asyncio.create_task(recorder.ask(inference, "large", *range(9 * MAX_JOINED_IMAGES + 1))))
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="is full"):
            await recorder.ask(inference, "refused")
        recorder.gate.set()
        await asyncio.gather(*tasks)
        assert await recorder.ask(inference, "later") == "later"


async def test_a_request_that_times_out_ends_when_its_call_ends() -> None:
    recorder = Recorder()
    async with queue(timeout_seconds=0.01) as inference:
        with pytest.raises(ServingError, match="not answered within 0.01 s") as error:
            await recorder.ask(inference, WAITING)
        assert error.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(ServingError, match="not answered within"):
            await recorder.ask(inference, "never started")
        assert recorder.ended == ["never started"]
        await inference.wait_until_idle(0.01)
        assert recorder.ended == ["never started"]
        recorder.gate.set()
        await inference.wait_until_idle(60)
        assert recorder.ended == ["never started", WAITING]
        assert recorder.started == [WAITING]


async def test_the_request_of_a_disconnected_client_is_dropped() -> None:
    recorder = Recorder()
    async with queue() as inference:
        running = asyncio.create_task(recorder.ask(inference, WAITING))
        gone = asyncio.create_task(recorder.ask(inference, "gone"))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        recorder.gate.set()
        await running
        await inference.wait_until_idle(60)
    assert recorder.started == [WAITING]
    assert recorder.ended == ["gone", WAITING]
