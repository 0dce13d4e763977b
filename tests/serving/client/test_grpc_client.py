"""TF Serving's gRPC API, asked of a server on its own stubs."""

import socket
from collections.abc import Iterator
from contextlib import closing
from threading import Event
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from serving.client.client import Client
from serving.client.errors import ClientError, RejectedInputError
from serving.client.grpc_client import GrpcEndpoint


@pytest.fixture
def endpoint(grpc_server: Any) -> Iterator[GrpcEndpoint]:
    with closing(GrpcEndpoint(grpc_server.address, "digits")) as opened:
        yield opened


def ask(endpoint: GrpcEndpoint) -> None:
    endpoint.ask("serving_default", "image_bytes", [b"\x89PNG"])


def failing(server: Any, code: grpc.StatusCode, message: str) -> None:
    server.respond = lambda request, context: context.abort(code, message)


def test_images_are_answered(grpc_server: Any, endpoint: GrpcEndpoint, grpc_response: PredictResponse) -> None:
    grpc_server.respond = lambda request, context: grpc_response
    answers = Client(endpoint).predict([b"\x89PNG\0", b"\xff\xd8"])
    assert [(answer.digit, answer.status, answer.model_version) for answer in answers] == [
        (7, "ok", 17),
        (-1, "blank", 17),
    ]
    (request,) = grpc_server.requests
    assert (request.model_spec.name, request.model_spec.signature_name) == ("digits", "serving_default")
    assert not request.model_spec.HasField("version")
    assert tf.make_ndarray(request.inputs["image_bytes"]).tolist() == [b"\x89PNG\0", b"\xff\xd8"]


def test_a_version_is_asked_for(grpc_server: Any, grpc_response: PredictResponse) -> None:
    grpc_server.respond = lambda request, context: grpc_response
    with closing(GrpcEndpoint(grpc_server.address, "digits", 17)) as endpoint:
        ask(endpoint)
    assert grpc_server.requests[0].model_spec.version.value == 17


def test_more_than_four_megabytes_come_through(
    grpc_server: Any, endpoint: GrpcEndpoint, grpc_response: PredictResponse
) -> None:
    grpc_response.outputs["more"].CopyFrom(tf.make_tensor_proto(bytes(5 * 1024**2)))
    grpc_server.respond = lambda request, context: grpc_response
    assert "more" in endpoint.ask("serving_default", "image_bytes", [b"a"]).outputs


def test_errors_are_told_apart(grpc_server: Any, endpoint: GrpcEndpoint) -> None:
    failing(grpc_server, grpc.StatusCode.INVALID_ARGUMENT, "image 0 is no image")
    with pytest.raises(RejectedInputError, match=r"^image 0 is no image$"):
        ask(endpoint)
    failing(grpc_server, grpc.StatusCode.INTERNAL, "out of memory")
    with pytest.raises(ClientError, match=r"^127.* failed with INTERNAL: out of memory$"):
        ask(endpoint)
    failing(grpc_server, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(digits)")
    with pytest.raises(ClientError, match=r"^127.* does not serve 'digits': Servable not .* Check the name and the"):
        ask(endpoint)


def test_a_server_that_restarts_is_asked_again(
    grpc_server: Any, endpoint: GrpcEndpoint, grpc_response: PredictResponse
) -> None:
    def respond(request: object, context: grpc.ServicerContext) -> PredictResponse:
        if len(grpc_server.requests) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        return grpc_response

    grpc_server.respond = respond
    assert len(Client(endpoint).predict([b"a", b"b"])) == 2


def test_nobody_is_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with (
            closing(GrpcEndpoint(address, "digits")) as endpoint,
            pytest.raises(ClientError, match=rf"^{address} cannot be reached; start a server with `digits serve`, or"),
        ):
            ask(endpoint)


def test_a_server_that_does_not_answer_is_not_waited_for(grpc_server: Any) -> None:
    done = Event()

    def respond(request: object, context: object) -> PredictResponse:
        done.wait()
        return PredictResponse()

    grpc_server.respond = respond
    with closing(GrpcEndpoint(grpc_server.address, "digits", timeout_seconds=0.2)) as endpoint:
        with pytest.raises(ClientError, match=r"has not answered within 0\.2 s; look at the server, or try again"):
            ask(endpoint)
        done.set()
