"""Servers with TF Serving's two APIs that answer what a test sets, and record their requests."""

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

from registry import signatures as contract


@dataclass
class RestServer:
    """A REST server; `respond` returns status and body of the next answer."""

    url: str = ""
    respond: Callable[[dict[str, Any]], tuple[int, Any]] = lambda request: (500, {})
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@dataclass
class GrpcServer(PredictionServiceServicer):
    """A gRPC server; `respond` returns the next answer, or aborts the call."""

    address: str = ""
    respond: Callable[[PredictRequest, grpc.ServicerContext], PredictResponse] = lambda request, context: (
        PredictResponse()
    )
    requests: list[PredictRequest] = field(default_factory=list)

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:  # noqa: N802
        self.requests.append(request)
        return self.respond(request, context)


@pytest.fixture
def rest_server() -> Iterator[RestServer]:
    server = RestServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append((self.path, request))
            status, answer = server.respond(request)
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            # The client may have gone.
            with suppress(BrokenPipeError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        http.shutdown()


@pytest.fixture
def grpc_server() -> Iterator[GrpcServer]:
    servicer = GrpcServer()
    server = grpc.server(ThreadPoolExecutor(2))
    add_PredictionServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(None).wait()


@pytest.fixture
def unused_address() -> Iterator[str]:
    """Host and port on which no server listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def column_outputs() -> dict[str, list[Any]]:
    """TF Serving's REST answer to two images, the second without ink."""
    return {
        contract.LABEL_OUTPUT: ["é", ""],
        contract.CLASSES_OUTPUT: [["a", "é", "日"]] * 2,
        contract.PROBABILITIES_OUTPUT: [[0.0, 0.75, 0.25], [0.5, 0.25, 0.25]],
        contract.CONFIDENCE_OUTPUT: [0.75, 0.5],
        contract.STATUS_OUTPUT: ["ok", "blank"],
    }


@pytest.fixture
def grpc_response(column_outputs: dict[str, list[Any]]) -> PredictResponse:
    """The same as a gRPC answer, of version 17."""
    response = PredictResponse()
    response.model_spec.version.value = 17
    for name, values in column_outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
    return response
