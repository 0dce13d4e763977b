from collections.abc import Iterator
from contextlib import closing
from threading import Event
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from serving.client.client import ClientError, RejectedInputError
from serving.client.grpc_client import GrpcClient


@pytest.fixture
def client(grpc_server: Any) -> Iterator[GrpcClient]:
    with closing(GrpcClient(grpc_server.address, "digits")) as opened:
        yield opened


def test_images_are_answered(grpc_server: Any, client: GrpcClient, grpc_response: PredictResponse) -> None:
    # More than gRPC's default limit of 4 MiB.
    grpc_response.outputs["more"].CopyFrom(tf.make_tensor_proto(bytes(5 * 1024**2)))
    grpc_server.respond = lambda request, context: grpc_response
    answers = client.predict([b"\x89PNG\0", b"\xff\xd8"])
    assert [(answer.label, answer.classes[1], answer.status, answer.model_version) for answer in answers] == [
        ("é", "é", "ok", 17),
        ("", "é", "blank", 17),
    ]
    (request,) = grpc_server.requests
    assert (request.model_spec.name, request.model_spec.signature_name) == ("digits", "serving_default")
    assert not request.model_spec.HasField("version")
    assert tf.make_ndarray(request.inputs["image_bytes"]).tolist() == [b"\x89PNG\0", b"\xff\xd8"]


def test_a_version_can_be_chosen(grpc_server: Any, grpc_response: PredictResponse) -> None:
    grpc_server.respond = lambda request, context: grpc_response
    with closing(GrpcClient(grpc_server.address, "digits", 17)) as client:
        client.predict([b"a", b"b"])
    assert grpc_server.requests[0].model_spec.version.value == 17


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("INVALID_ARGUMENT", RejectedInputError, r"^the message$"),
        ("INTERNAL", ClientError, r"^127.* failed with INTERNAL: the message$"),
        ("NOT_FOUND", ClientError, r"^127.* does not serve 'digits': the message. Check the name and the version"),
    ],
)
def test_errors_of_the_server(
    grpc_server: Any, client: GrpcClient, code: str, error: type[Exception], message: str
) -> None:
    grpc_server.respond = lambda request, context: context.abort(grpc.StatusCode[code], "the message")
    with pytest.raises(error, match=message):
        client.predict([b"a"])


def test_a_request_that_is_too_large_for_the_server_is_rejected(grpc_server: Any, client: GrpcClient) -> None:
    message = "Received message larger than max (5000000 vs. 4194304)"
    grpc_server.respond = lambda request, context: context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
    with pytest.raises(RejectedInputError, match="larger than max"):
        client.predict([b"a"])


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_requests_to_a_restarting_or_busy_server_are_retried(
    grpc_server: Any, client: GrpcClient, grpc_response: PredictResponse, code: str
) -> None:
    def respond(request: object, context: grpc.ServicerContext) -> PredictResponse:
        if len(grpc_server.requests) < 3:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "1"),))
            context.abort(grpc.StatusCode[code], "try again")
        return grpc_response

    grpc_server.respond = respond
    # More than gRPC repeats by default.
    assert len(client.predict([bytes(1024**2), bytes(1024**2)])) == 2


def test_a_server_that_cannot_be_reached(unused_address: str) -> None:
    message = rf"^{unused_address} cannot be reached; start a server with `digits serve`, or check .* at 8500\)"
    with closing(GrpcClient(unused_address, "digits")) as client, pytest.raises(ClientError, match=message):
        client.predict([b"a"])


def test_a_server_that_does_not_answer_in_time(grpc_server: Any) -> None:
    done = Event()
    grpc_server.respond = lambda request, context: done.wait() and PredictResponse()
    with closing(GrpcClient(grpc_server.address, "digits", timeout_seconds=0.2)) as client:
        with pytest.raises(ClientError, match=r"has not answered within 0\.2 s; check the server, or try again"):
            client.predict([b"a"])
        done.set()
