"""What a server answers instead of an answer, in the terms of both of its APIs."""

from enum import Enum
from http import HTTPStatus

import grpc


class ErrorCode(Enum):
    """TF Serving's canonical codes with their HTTP status, as its REST API maps them.

    Source: tensorflow_serving/util/net_http's use in `model_servers/http_server.cc` (`ToHTTPStatusCode`).
    """

    INVALID_ARGUMENT = (grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST)
    NOT_FOUND = (grpc.StatusCode.NOT_FOUND, HTTPStatus.NOT_FOUND)
    FAILED_PRECONDITION = (grpc.StatusCode.FAILED_PRECONDITION, HTTPStatus.BAD_REQUEST)
    RESOURCE_EXHAUSTED = (grpc.StatusCode.RESOURCE_EXHAUSTED, HTTPStatus.TOO_MANY_REQUESTS)
    DEADLINE_EXCEEDED = (grpc.StatusCode.DEADLINE_EXCEEDED, HTTPStatus.GATEWAY_TIMEOUT)
    UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE)
    UNIMPLEMENTED = (grpc.StatusCode.UNIMPLEMENTED, HTTPStatus.NOT_IMPLEMENTED)
    INTERNAL = (grpc.StatusCode.INTERNAL, HTTPStatus.INTERNAL_SERVER_ERROR)

    def __init__(self, grpc_status: grpc.StatusCode, http_status: HTTPStatus) -> None:
        self.grpc_status = grpc_status
        self.http_status = http_status


class ServingError(Exception):
    """A request that is not answered; the message is for the client."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
