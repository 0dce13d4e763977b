"""Requests over gRPC whose message is late, missing, damaged or refused."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import grpc
import pytest
import requests

MIB = 2**20
SERVICE = "/tensorflow.serving.PredictionService"
# A server whose limit is too low for a single request.
FULL = {"max_concurrency": 1, "max_queue": -1}


@pytest.fixture
def open_method(run_in_thread: Callable, tmp_path: Path) -> Callable[..., Any]:
    """Runs a server with options in a context, with a method to call it with any number of messages of bytes."""

    @contextmanager
    def open_with(method: str = "Predict", **options: Any) -> Iterator[tuple[Any, Any]]:
        with (
            run_in_thread(tmp_path, **options) as server,
            grpc.insecure_channel(server.addresses.grpc_target) as channel,
        ):
            yield server, channel.stream_unary(f"{SERVICE}/{method}")

    return open_with


def status_of(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code().name, raised.value.details()


@contextmanager
def silence() -> Iterator[Iterator[bytes]]:
    """Messages that do not come until the end of the context."""
    over = Event()

    def no_messages() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    yield no_messages()
    over.set()


@pytest.mark.parametrize("method", ["Predict", "GetModelMetadata"])
@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], "The request has no message."),
        ([b"\xff\xff"], "The message cannot be decoded; expected the request message of this method."),
        ([b""], "Missing ModelSpec"),
    ],
)
def test_missing_and_damaged_messages(open_method: Callable, method: str, messages: list[bytes], expected: str) -> None:
    with open_method(method) as (_, call):
        assert status_of(lambda: call(iter(messages), timeout=60)) == ("INVALID_ARGUMENT", expected)


def test_a_full_queue_refuses_a_request_before_its_message_and_counts_it(open_method: Callable) -> None:
    with open_method(**FULL) as (server, call), silence() as messages:
        with pytest.raises(grpc.RpcError, match="queue to which this task was submitted is full") as raised:
            call(messages, timeout=60)
        metrics = requests.get(f"{server.addresses.rest_url}/monitoring/prometheus/metrics", timeout=60).text
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    # The client is told when to retry.
    assert ("grpc-retry-pushback-ms", "1000") in raised.value.trailing_metadata()
    assert ':tensorflow:serving:request_count{model_name="",status="RESOURCE_EXHAUSTED"} 1.0' in metrics


def test_a_full_queue_still_answers_requests_without_inference(open_method: Callable) -> None:
    with open_method("GetModelMetadata", **FULL) as (_, call):
        assert status_of(lambda: call(iter([b""]), timeout=60)) == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_a_message_that_does_not_arrive_in_time(open_method: Callable) -> None:
    with open_method(request_timeout_seconds=0.2) as (_, call), silence() as messages:
        expected = ("DEADLINE_EXCEEDED", "The message did not arrive within 0.2 s.")
        assert status_of(lambda: call(messages, timeout=60)) == expected


def test_a_late_message_counts_as_the_largest_until_it_has_arrived(open_method: Callable) -> None:
    with (
        open_method(max_body_bytes=MIB, max_bytes_in_flight=MIB) as (_, call),
        silence() as first,
        silence() as second,
    ):
        done: SimpleQueue[grpc.Future] = SimpleQueue()
        both = [call.future(messages, timeout=60) for messages in (first, second)]
        for each in both:
            each.add_done_callback(done.put)
        # Either may reach the server first.
        refused = done.get(timeout=60)
        code, details = status_of(refused.result)
        assert code == "RESOURCE_EXHAUSTED"
        assert details.startswith("The requests in progress take 1,048,576 of 1,048,576 bytes")
        # A message that arrives at once is not refused because of the size that it could have.
        assert status_of(lambda: call(iter([b""]), timeout=60)) == ("INVALID_ARGUMENT", "Missing ModelSpec")
        assert [each.done() for each in both if each is not refused] == [False]


def test_thousands_of_requests_at_once_are_refused_and_none_is_dropped(run_in_thread: Callable, tmp_path: Path) -> None:
    with run_in_thread(tmp_path, **FULL) as server, grpc.insecure_channel(server.addresses.grpc_target) as channel:
        predict = channel.unary_unary(f"{SERVICE}/Predict")
        calls = [predict.future(b"", timeout=60) for _ in range(4000)]
        assert {call.code().name for call in calls} == {"RESOURCE_EXHAUSTED"}
