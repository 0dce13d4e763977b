"""TF Serving's REST API over HTTP, with metrics and the web page beside it.

Source: tensorflow.org/tfx/serving/api_rest; paths and messages as in `tensorflow_serving/model_servers/http_server.cc`,
`http_rest_api_handler.cc` and `http_rest_api_util.cc`.
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from registry.signatures import SERVING_DEFAULT
from serving.server.classification import refuse_classification
from serving.server.errors import ErrorCode, ServingError
from serving.server.json_tensor import invalid
from serving.server.messages import Api, ModelRequest
from serving.server.metrics import METRICS_PATH, PrometheusObserver
from serving.server.model_server import ModelServer
from serving.server.observer import FinishedRequest
from serving.server.options import LARGE_BODY_BYTES, ServerOptions
from serving.server.rest_answers import error_answer, metadata_answer, predict_answer, status_answer
from serving.server.rest_json import PredictBody, parse_predict_body
from serving.server.web_page import WebPage

_POST_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r":(?P<method>classify|regress|predict)",
    re.ASCII | re.IGNORECASE,
)
_GET_PATH = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r"(?:/(?P<resource>metadata))?",
    re.ASCII | re.IGNORECASE,
)
# TF Serving's own, for a request that was cancelled.
_CLIENT_CLOSED_REQUEST = 499
_MAX_VERSION = 2**63 - 1
# What `tensorflow_serving --enable_cors_support` sends.
_API_HEADERS = {
    "Content-Type": "application/json",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Target:
    """Which version of which model a path names."""

    name: str
    version: int | None
    label: str | None


class RestApi:
    """Answers HTTP requests on a model server."""

    def __init__(
        self, server: ModelServer, options: ServerOptions, observer: PrometheusObserver, page: WebPage
    ) -> None:
        """Keeps what it answers with.

        Args:
            server: Answers requests for models.
            options: The limits of a body: how large, and how slow.
            observer: Counts requests that do not get as far as the server, and writes the metrics.
            page: The files at `/`.
        """
        self._server = server
        self._options = options
        self._observer = observer
        self._page = page

    def application(self) -> web.Application:
        """Makes the application that an HTTP server runs."""
        application = web.Application(client_max_size=self._options.max_body_bytes)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if path.lower().startswith("/v1/"):
            return await self._handle_api(request, path)
        if request.method in ("GET", "HEAD"):
            if path == METRICS_PATH:
                return web.Response(body=self._observer.page(), headers={"Content-Type": "text/plain"})
            if found := self._page.find(path):
                return found
        return _error_response(ErrorCode.NOT_FOUND, f"Malformed request: {request.method} {path}")

    async def _handle_api(self, request: web.Request, path: str) -> web.Response:
        try:
            body = await self._answer(request, path)
        except ServingError as error:
            # Its frames hold what holds it, and with it the request, until the garbage collector comes by.
            error.__traceback__ = None
            response = _error_response(error.code, error.message)
            if not request.content.is_eof():
                # The rest of the body is not read: the next request needs another connection.
                response.force_close()
            return response
        except ConnectionError:
            # The client has gone, and nobody reads this.
            return web.Response(status=_CLIENT_CLOSED_REQUEST)
        except Exception:
            _logger.exception("%s %s failed.", request.method, path)
            return _error_response(ErrorCode.INTERNAL, "An error of the server; its log says more.")
        return web.Response(body=body, headers=_API_HEADERS)

    async def _answer(self, request: web.Request, path: str) -> bytes:
        if request.method == "POST" and (match := _POST_PATH.fullmatch(path)):
            target, method = _target(match), match["method"].lower()
            if method == "predict":
                return await self._predict(request, target)
            body = await self._read_body(request)
            return refuse_classification(body, method, lambda: self._signatures(target))
        if request.method == "GET" and (match := _GET_PATH.fullmatch(path)):
            return self._describe(_target(match), is_metadata=match["resource"] is not None)
        if request.method == "OPTIONS":
            return _preflight(request)
        raise invalid(f"Malformed request: {request.method} {path}")

    def _describe(self, target: _Target, *, is_metadata: bool) -> bytes:
        if not target.name:
            raise invalid("Missing model name in request.")
        if is_metadata:
            return metadata_answer(target.name, *self._server.signatures(target.name, target.version, target.label))
        return status_answer(self._server.statuses(target.name, target.version, target.label))

    async def _predict(self, request: web.Request, target: _Target) -> bytes:
        start = time.perf_counter()
        try:
            parsed = await self._parse(await self._read_body(request), target)
        except ServingError as error:
            self._count_refused(target, error, time.perf_counter() - start)
            raise
        answer = await self._server.predict(
            ModelRequest(target.name, target.version, target.label, parsed.signature, parsed.inputs, api=Api.REST)
        )
        return predict_answer(answer.outputs, is_row_format=parsed.is_row_format)

    async def _read_body(self, request: web.Request) -> bytes:
        limit, seconds = self._options.max_body_bytes, self._options.request_timeout_seconds
        if (request.content_length or 0) > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(seconds):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise _too_large(limit) from None
        except TimeoutError:
            message = f"The body did not arrive within {seconds:g} s."
            raise ServingError(ErrorCode.DEADLINE_EXCEEDED, message) from None
        except (web.RequestPayloadError, ContentEncodingError) as error:
            raise invalid(f"The body cannot be read: {error}") from None

    async def _parse(self, body: bytes, target: _Target) -> PredictBody:
        def find_inputs(signature: str) -> Mapping:
            name = signature or SERVING_DEFAULT
            signatures = self._signatures(target)
            if name not in signatures:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            return signatures[name].inputs

        if len(body) > LARGE_BODY_BYTES:
            return await asyncio.to_thread(parse_predict_body, body, find_inputs, self._options.max_batch_size)
        return parse_predict_body(body, find_inputs, self._options.max_batch_size)

    def _signatures(self, target: _Target) -> Mapping[str, SignatureDef]:
        return self._server.signatures(target.name, target.version, target.label)[1]

    def _count_refused(self, target: _Target, error: ServingError, seconds: float) -> None:
        try:
            self._server.statuses(target.name)
            name = target.name
        except ServingError:
            # Clients must not be able to make up names.
            name = ""
        self._observer.request_finished(FinishedRequest(name, None, "", Api.REST, error.code, seconds, 0))


def _target(match: re.Match[str]) -> _Target:
    version = match["version"]
    if version is not None and (len(version) > len(str(_MAX_VERSION)) or int(version) > _MAX_VERSION):
        raise invalid(f"Failed to convert version: {version} to numeric.")
    label = match["label"]
    return _Target(unquote(match["name"] or ""), int(version) if version else None, unquote(label) if label else None)


def _too_large(limit: int) -> ServingError:
    return invalid(f"The body is larger than {limit:,} bytes, the most that this server takes.")


def _preflight(request: web.Request) -> bytes:
    if not request.headers.get("Origin", "").startswith(("http://", "https://")):
        raise ServingError(ErrorCode.FAILED_PRECONDITION, "Origin header is missing in CORS preflight")
    return b""


def _error_response(code: ErrorCode, message: str) -> web.Response:
    return web.Response(status=code.http_status, body=error_answer(message), headers=_API_HEADERS)
