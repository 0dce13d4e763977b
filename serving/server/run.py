"""Runs both APIs in one process, from start-up to graceful shutdown."""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import grpc.aio
from aiohttp import web
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec

from registry.errors import ExpectedError
from registry.signatures import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT, MODELS_PATH
from serving.server.grpc_receiver import Receiver
from serving.server.grpc_services import GrpcApi
from serving.server.interface import ServerOptions, ServingError
from serving.server.metrics import METRICS_PATH
from serving.server.model_server import ModelServer
from serving.server.rest import RestApi

_STATES = {
    ModelVersionStatus.LOADING: "is loading",
    ModelVersionStatus.AVAILABLE: "is available",
    ModelVersionStatus.END: "is unloaded",
}

# Connections without a complete request are closed after this time; load balancers and clients open new ones.
_KEEP_ALIVE_SECONDS = 75.0
# The same for gRPC connections that are being established, and for HTTP connections above the limit.
_HANDSHAKE_SECONDS = 10.0
_MAX_PENDING_REQUESTS = 2**16
# A thread that has finished a calculation waits this long for the GIL while the event loop is busy. Python's default of
# 5 ms is longer than most calculations and costs a tenth of the throughput with single images from 32 clients.
_SWITCH_INTERVAL_SECONDS = 0.0001


class AddressError(ExpectedError):
    """The server cannot listen on a host or port; the message is for the user."""


@dataclass(frozen=True)
class Addresses:
    """Where a server listens.

    Attributes:
        host: Name or address of the interface.
        rest_port: Port for HTTP; 0 for any free one.
        grpc_port: Port for gRPC; 0 for any free one.
    """

    host: str = "127.0.0.1"
    rest_port: int = DEFAULT_REST_PORT
    grpc_port: int = DEFAULT_GRPC_PORT

    @property
    def rest_url(self) -> str:
        """URL of the REST API."""
        return f"http://{self._url_host}:{self.rest_port}"

    @property
    def grpc_target(self) -> str:
        """Target of the gRPC API."""
        return f"{self._url_host}:{self.grpc_port}"

    @property
    def _url_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


async def serve(options: ServerOptions, addresses: Addresses, model: str, say: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, which let running requests finish; a second signal stops at once.

    Args:
        options: What to serve, and the limits.
        addresses: Where to listen.
        model: Name of the model in the example that is printed.
        say: Prints a line for the user.

    Raises:
        AddressError: A port is in use, or the host is not an address of this machine.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    if options.trust_policy.public_key:
        # Otherwise, the check of the first version would import it after `gc.freeze`.
        import_module("model_signing.verifying")
    # The collections after a swap of versions need not look at the libraries.
    gc.freeze()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    async with running_server(options, addresses, say) as (server, listening):
        for line in _start_up_lines(server, options, listening, model):
            say(line)
        await stopping.wait()
        say("Stopping: running requests are still answered.")
    say("Stopped.")


@asynccontextmanager
async def running_server(
    options: ServerOptions, addresses: Addresses, say: Callable[[str], None]
) -> AsyncIterator[tuple[ModelServer, Addresses]]:
    """Runs both APIs inside the context and stops them gracefully after it.

    Args:
        options: What to serve, and the limits.
        addresses: Where to listen.
        say: Gets a line for each change of a version.

    Yields:
        The model server, and the addresses with the actual ports.

    Raises:
        AddressError: A port is in use, or the host is not an address of this machine.
    """
    health_reports: set[asyncio.Task[None]] = set()

    def announce(model: str, status: ModelVersionStatus) -> None:
        error = status.status.error_message
        if words := f"failed: {error}" if error else _STATES.get(status.state):
            say(f"{model}: version {status.version} {words}")
        report = asyncio.create_task(grpc_api.report_health())
        # The event loop itself keeps only a weak reference to a task.
        health_reports.add(report)
        report.add_done_callback(health_reports.discard)

    server = ModelServer(options, announce)
    grpc_api = GrpcApi(server, options.max_body_bytes)
    async with AsyncExitStack() as stack:
        # Before loading: a port that is in use must be reported at once.
        listener = stack.enter_context(_listen(addresses))
        grpc_server, grpc_port = _grpc_server(server, grpc_api, options, addresses)
        await server.start()
        stack.push_async_callback(server.stop)
        await grpc_api.report_health()
        api = RestApi(server, options, addresses.host)
        runner = web.AppRunner(
            api.application(),
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            # For an encoding that it lacks, aiohttp would answer text instead of JSON.
            auto_decompress=False,
            # aiohttp waits this long twice: for requests, then for their cancellation.
            shutdown_timeout=options.grace_seconds / 2,
        )
        await runner.setup()
        stack.push_async_callback(_stop_listening, runner, grpc_server, options.grace_seconds)
        stack.push_async_callback(grpc_api.stop_health)
        await grpc_server.start()
        accepting = cast(web.Server, runner.server)
        refusing = web.Server(
            api.refuse_connection, access_log=None, keepalive_timeout=_HANDSHAKE_SECONDS, auto_decompress=False
        )
        stack.push_async_callback(refusing.shutdown, 0)
        limit = options.max_connections
        listening = await asyncio.get_running_loop().create_server(
            lambda: _Connection(lambda: (accepting if len(accepting.connections) < limit else refusing)()),
            sock=listener,
            backlog=limit,
        )
        stack.callback(listening.close)
        yield server, Addresses(addresses.host, listener.getsockname()[1], grpc_port)


class _Connection(asyncio.Protocol):
    """Chooses its protocol once it is made, because several may be accepted before the first of them is counted."""

    def __init__(self, choose: Callable[[], asyncio.Protocol]) -> None:
        self._choose = choose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        protocol = self._choose()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


async def _stop_listening(runner: web.AppRunner, grpc_server: grpc.aio.Server, grace_seconds: float) -> None:
    # In parallel, so that the grace period is not doubled.
    await asyncio.gather(runner.cleanup(), grpc_server.stop(grace_seconds))


def _listen(addresses: Addresses) -> socket.socket:
    host, port = addresses.host, addresses.rest_port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (socket.gaierror, UnicodeError) as error:
        raise _cannot_listen("REST", host, port, getattr(error, "strerror", None) or str(error)) from None
    except OSError as error:
        raise _cannot_listen("REST", host, port, os.strerror(error.errno or 0)) from None


def _grpc_server(
    server: ModelServer, grpc_api: GrpcApi, options: ServerOptions, addresses: Addresses
) -> tuple[grpc.aio.Server, int]:
    grpc_server = grpc.aio.server(
        interceptors=(Receiver(server, options),),
        # The queue refuses more; here, each connection may have one more, so that the queue can refuse it.
        maximum_concurrent_rpcs=options.max_concurrency + options.max_queue + options.max_connections,
        options=[
            # Otherwise two servers could silently share a port.
            ("grpc.so_reuseport", 0),
            # gRPC refuses a larger message as soon as it has read its length.
            ("grpc.max_receive_message_length", options.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_allowed_incoming_connections", options.max_connections),
            # Above these, gRPC would cancel requests that the event loop has not seen; the queue refuses them instead.
            ("grpc.server.max_pending_requests", _MAX_PENDING_REQUESTS),
            ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING_REQUESTS),
            ("grpc.max_connection_idle_ms", round(1000 * _KEEP_ALIVE_SECONDS)),
            ("grpc.server_handshake_timeout_ms", round(1000 * _HANDSHAKE_SECONDS)),
        ],
    )
    grpc_api.add_to(grpc_server)
    try:
        return grpc_server, grpc_server.add_insecure_port(addresses.grpc_target)
    except RuntimeError:
        raise _cannot_listen("gRPC", addresses.host, addresses.grpc_port, "the port cannot be opened") from None


def _cannot_listen(api: str, host: str, port: int, reason: str) -> AddressError:
    return AddressError(
        f"{host}:{port}, for {api}: {reason}. Another server may use it; choose another with --host or "
        f"--{api.lower()}-port."
    )


def _start_up_lines(server: ModelServer, options: ServerOptions, addresses: Addresses, model: str) -> Iterator[str]:
    url = addresses.rest_url
    model_url = f"{url}{MODELS_PATH}/{model}"
    yield f"REST      {model_url}"
    yield f"gRPC      {addresses.grpc_target}"
    yield f"Metrics   {url}{METRICS_PATH}"
    yield f"Web page  {url}/"
    try:
        server.signatures(ModelSpec(name=model))
    except ServingError:
        yield f"{options.serving_root / model} has no version yet; the first one is served once it is pushed."
    yield "Try it with your own image:"
    yield '  echo "{\\"instances\\": [{\\"b64\\": \\"$(base64 < drawing.png | tr -d \'\\n\')\\"}]}" |'
    yield f"    curl -s -d @- {model_url}:predict"
