"""TF Serving's REST API over HTTP, with the metrics and the drawing page.

Source: https://www.tensorflow.org/tfx/serving/api_rest; paths and messages as in `http_server.cc`,
`http_rest_api_handler.cc` and `http_rest_api_util.cc` of `tensorflow_serving/model_servers`.
"""

import asyncio
import logging
import re
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

import grpc
from aiohttp import web
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo
from tensorflow_serving.apis.model_pb2 import ModelSpec

from registry.signatures import MODELS_PATH, SERVING_DEFAULT
from serving.server.admission import SetSize
from serving.server.interface import (
    LARGE_ANSWER_VALUES,
    LARGE_REQUEST_BYTES,
    RETRY_SECONDS,
    ServerOptions,
    ServingError,
    invalid,
)
from serving.server.metrics import METRICS_PATH
from serving.server.model_server import ModelServer
from serving.server.rest_bodies import (
    PredictBody,
    error_body,
    metadata_body,
    parse_predict_body,
    predict_body,
    status_body,
)

WEB_DIRECTORY = Path(__file__).parents[1] / "web"
"""Folder of the drawing page."""

PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    # A link with the parameter `server` must not make the page send drawings to an arbitrary server.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of the files of the drawing page if no other hosts are allowed."""

_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST_PATH = re.compile(
    rf"{MODELS_PATH}/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", re.ASCII | re.IGNORECASE
)
_GET_PATH = re.compile(
    rf"{MODELS_PATH}(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<resource>metadata))?", re.ASCII | re.IGNORECASE
)
_MAX_VERSION = 2**63 - 1
_API_HEADERS = {"Content-Type": "application/json"}
_IDENTITY = "identity"
_BODY_ENCODINGS = (_IDENTITY, "gzip", "deflate")
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
# What TF Serving sends with `--rest_api_enable_cors_support`; it also allows any origin.
_CORS_HEADERS = {
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
    "Vary": "Origin",
}
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
# `ToHTTPStatusCode` in TF Serving's `http_server.cc`.
_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    # TF Serving's 429 would blame this client, but all requests together keep the server busy.
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
}

_RETRY_HEADERS = {"Retry-After": str(RETRY_SECONDS)}

_logger = logging.getLogger(__name__)


class RestApi:
    """Handles HTTP requests.

    Args:
        server: Handles the requests for models.
        options: The limits on size and time of a body, and the allowed hosts.
        host: Name or address that the server listens on, which is also allowed.
    """

    def __init__(self, server: ModelServer, options: ServerOptions, host: str) -> None:
        self._server = server
        self._options = options
        self._hosts = {*_LOOPBACK_HOSTS, host.lower(), *options.allowed_hosts}
        # One thread, because Python's objects take up to thirty times the memory of their JSON.
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="parser")
        self._page_files = find_page_files()
        self._page_headers = _page_headers(options.allowed_hosts)

    def application(self) -> web.Application:
        """Returns the application for an HTTP server."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def refuse_connection(self, request: web.BaseRequest) -> web.Response:
        """Answers the only request of a connection above the limit."""
        message = f"The server has {self._options.max_connections:,} open connections, its limit; try again later."
        response = _error_response(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
        response.force_close()
        return response

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            response: web.StreamResponse = _error_response(grpc.StatusCode.PERMISSION_DENIED, refusal)
            response.force_close()
            return response
        response = await self._route(request, request.rel_url.raw_path)
        if origin := request.headers.get("Origin"):
            response.headers.update({"Access-Control-Allow-Origin": origin, **_CORS_HEADERS})
        return response

    def _refusal(self, request: web.Request) -> str | None:
        """Checks host names to prevent DNS rebinding, in which the name of a page's host resolves to this server."""
        host, origin = _host_name(f"//{request.headers.get('Host', '')}"), request.headers.get("Origin")
        if host not in self._hosts:
            return f"The request is for the host {host!r}; to allow it, start `digits serve` with --allow-host {host}."
        if origin is not None and (page := _host_name(origin)) not in self._hosts:
            return (
                f"The request is from a page at {origin}; to allow it, start `digits serve` with --allow-host {page}."
            )
        return None

    async def _route(self, request: web.Request, path: str) -> web.StreamResponse:
        if path.lower().startswith("/v1/"):
            if (encoding := _encoding(request)) not in _BODY_ENCODINGS:
                return _unsupported_encoding(encoding)
            return await self._handle_api(request, path)
        if request.method in ("GET", "HEAD"):
            if path == METRICS_PATH:
                return web.Response(body=self._server.metrics.page(), headers={"Content-Type": "text/plain"})
            if file := self._page_files.get(unquote(path)):
                return web.FileResponse(file, headers=self._page_headers)
        return _error_response(grpc.StatusCode.NOT_FOUND, f"Malformed request: {request.method} {path}")

    async def _handle_api(self, request: web.Request, path: str) -> web.Response:
        try:
            body = await self._answer(request, path)
        except ServingError as error:
            # The frames of the traceback keep the request alive until the garbage collector runs.
            error.__traceback__ = None
            response = _error_response(error.code, error.message)
            if not request.content.is_eof():
                # The rest of the body stays unread, so the connection cannot be used again.
                response.force_close()
            return response
        except ConnectionError:
            # The client has disconnected and gets no response: TF Serving's status of a cancelled request.
            return web.Response(status=499)
        except Exception:
            _logger.exception("%s %s failed.", request.method, path)
            return _error_response(grpc.StatusCode.INTERNAL, "Internal error; see the log of the server.")
        return web.Response(body=body, headers=_API_HEADERS)

    async def _answer(self, request: web.Request, path: str) -> bytes:
        if request.method == "POST" and (match := _POST_PATH.fullmatch(path)):
            return await self._post(request, _model_spec(match), match["method"].lower())
        if request.method == "GET" and (match := _GET_PATH.fullmatch(path)):
            return self._get(_model_spec(match), is_metadata=match["resource"] is not None)
        if request.method == "OPTIONS":
            if not request.headers.get("Origin", "").startswith(("http://", "https://")):
                message = "Origin header is missing in CORS preflight"
                raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)
            return b""
        raise invalid(f"Malformed request: {request.method} {path}")

    def _get(self, spec: ModelSpec, *, is_metadata: bool) -> bytes:
        if not spec.name:
            raise invalid("Missing model name in request.")
        if is_metadata:
            return metadata_body(spec.name, *self._server.signatures(spec))
        return status_body(self._server.statuses(spec))

    async def _post(self, request: web.Request, spec: ModelSpec, method: str) -> bytes:
        if method != "predict":
            message = f"This development server does not support :{method}; use :predict instead."
            raise ServingError(grpc.StatusCode.UNIMPLEMENTED, message)
        with ExitStack() as stack:
            with self._server.counted_errors(spec, "REST"):
                set_size = stack.enter_context(self._server.admitted())
                body = await self._read_body(request, set_size)
                # The version whose signatures parse the body is also the one that answers.
                version = stack.enter_context(self._server.held(spec))
                parsed = await self._parse(body, version.model.signatures)
            del body
            spec.signature_name = parsed.signature
            _, outputs = await self._server.predict(spec, parsed.inputs, version=version)
        write = partial(predict_body, outputs, is_row_format=parsed.is_row_format)
        if sum(values.size for values in outputs.values()) > LARGE_ANSWER_VALUES:
            return await asyncio.get_running_loop().run_in_executor(self._parser, write)
        return write()

    async def _read_body(self, request: web.Request, set_size: SetSize) -> bytearray:
        limit, seconds = self._options.max_body_bytes, self._options.request_timeout_seconds
        too_large = f"The body is larger than {limit:,} bytes, the limit of this server."
        declared = request.content_length or 0
        if declared > limit:
            raise invalid(too_large)
        set_size(0, declared)
        body = bytearray()
        decoder = None if _encoding(request) == _IDENTITY else zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            async with asyncio.timeout(seconds):
                # A compressed body is larger than declared; a chunked one declares no size.
                async for chunk in request.content.iter_any():
                    body += decoder.decompress(chunk, limit + 1 - len(body)) if decoder else chunk
                    if len(body) > limit:
                        raise invalid(too_large)
                    set_size(len(body), declared)
        except TimeoutError:
            message = f"The body did not arrive within {seconds:g} s."
            raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, message) from None
        except (web.RequestPayloadError, zlib.error) as error:
            raise invalid(f"The body cannot be read: {error}") from None
        if decoder and not decoder.eof:
            raise invalid("The body cannot be read: its compressed data is incomplete.")
        return body

    async def _parse(self, body: bytearray, signatures: Mapping[str, SignatureDef]) -> PredictBody:
        def find_inputs(signature: str) -> Mapping[str, TensorInfo]:
            name = signature or SERVING_DEFAULT
            if name not in signatures:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            return signatures[name].inputs

        if len(body) > LARGE_REQUEST_BYTES:
            parse = partial(parse_predict_body, body, find_inputs, self._options.max_batch_size)
            return await asyncio.get_running_loop().run_in_executor(self._parser, parse)
        return parse_predict_body(body, find_inputs, self._options.max_batch_size)


def find_page_files(directory: Path = WEB_DIRECTORY) -> dict[str, Path]:
    """Finds the files of the drawing page; no other file is ever sent.

    Args:
        directory: Folder of the page.

    Returns:
        The files by URL path; `/` is `index.html`.
    """
    files = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {
        "/": directory / "index.html",
        **{f"/{path.relative_to(directory).as_posix()}": path for path in files},
    }


def _page_headers(allowed_hosts: Iterable[str]) -> dict[str, str]:
    # A policy cannot name an IPv6 address.
    hosts = [host for host in sorted(allowed_hosts) if ":" not in host]
    sources = "".join(f" http://{host}:* https://{host}:*" for host in hosts)
    policy = PAGE_HEADERS["Content-Security-Policy"].replace("connect-src 'self'", f"connect-src 'self'{sources}")
    return {**PAGE_HEADERS, "Content-Security-Policy": policy}


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _model_spec(match: re.Match[str]) -> ModelSpec:
    spec = ModelSpec(name=unquote(match["name"] or ""))
    if version := match["version"]:
        if len(version) > len(str(_MAX_VERSION)) or int(version) > _MAX_VERSION:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    if label := match["label"]:
        spec.version_label = unquote(label)
    return spec


def _error_response(code: grpc.StatusCode, message: str) -> web.Response:
    status = _HTTP_STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = _API_HEADERS | _RETRY_HEADERS if status == HTTPStatus.SERVICE_UNAVAILABLE else _API_HEADERS
    return web.Response(status=status, body=error_body(message), headers=headers)


def _encoding(request: web.Request) -> str:
    return request.headers.get("Content-Encoding", "").strip().lower() or _IDENTITY


def _unsupported_encoding(encoding: str) -> web.Response:
    accepted = ", ".join(_BODY_ENCODINGS)
    message = f"The Content-Encoding {encoding!r} is not supported; expected one of {accepted}."
    # RFC 9110, section 15.5.16.
    headers = {**_API_HEADERS, "Accept-Encoding": accepted}
    response = web.Response(status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, body=error_body(message), headers=headers)
    # The body stays unread, so the connection cannot be used again.
    response.force_close()
    return response
