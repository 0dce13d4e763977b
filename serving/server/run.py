"""The development server as a whole: both APIs on one model server, from start-up to a graceful end."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc.aio
from aiohttp import web

from registry.signatures import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT
from serving.server.announcer import Announcer
from serving.server.errors import ServingError
from serving.server.grpc_services import add_services
from serving.server.metrics import METRICS_PATH
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions
from serving.server.rest import RestApi
from serving.server.web_page import WebPage

# Idle connections are closed after this; load balancers and clients reopen them.
_KEEP_ALIVE_SECONDS = 75.0
# gRPC itself answers RESOURCE_EXHAUSTED above this. It is far above `max_body_bytes`, so that a client with a message
# somewhat too large is told INVALID_ARGUMENT and the limit.
_MIN_TRANSPORT_BYTES = 256 * 1024 * 1024
_MAX_TRANSPORT_BYTES = 2**31 - 1
# A thread that has calculated waits as long for Python's one lock while the event loop is busy. Python's own 5 ms are
# longer than most calculations: with single images of 32 clients that costs a tenth of the throughput.
_SWITCH_INTERVAL_SECONDS = 0.0001


class AddressError(Exception):
    """A host or port that the server cannot listen on; the message is for the person who chose it."""


@dataclass(frozen=True)
class Addresses:
    """Where a server listens.

    Attributes:
        host: Name or address of the interface.
        rest_port: Of HTTP; 0 for any that is free.
        grpc_port: Of gRPC; 0 for any that is free.
    """

    host: str = "127.0.0.1"
    rest_port: int = DEFAULT_REST_PORT
    grpc_port: int = DEFAULT_GRPC_PORT

    @property
    def rest_url(self) -> str:
        """Where HTTP is answered."""
        return f"http://{_bracketed(self.host)}:{self.rest_port}"

    @property
    def grpc_target(self) -> str:
        """Where gRPC is answered."""
        return f"{_bracketed(self.host)}:{self.grpc_port}"


async def serve(options: ServerOptions, addresses: Addresses, model: str, say: Callable[[str], None]) -> None:
    """Serves until a signal ends it.

    SIGTERM and SIGINT let the requests that have been begun come to their end; a second signal does not wait.

    Args:
        options: What to serve, and its limits.
        addresses: Where to listen.
        model: Name of the model with which the person at the terminal is to begin.
        say: Gets one line at a time for the person at the terminal.

    Raises:
        AddressError: A port is in use, or the host is not one of this machine.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop, each)
    async with running_server(options, addresses, Announcer(say)) as (server, listening):
        for line in _start_up_lines(server, options, listening, model):
            say(line)
        await stopping.wait()
        say("Stopping: requests that have been begun are still answered.")
    say("Stopped.")


@asynccontextmanager
async def running_server(
    options: ServerOptions, addresses: Addresses, observer: Announcer
) -> AsyncIterator[tuple[ModelServer, Addresses]]:
    """Runs both APIs while the context lasts, and ends them gracefully after it.

    Args:
        options: What to serve, and its limits.
        addresses: Where to listen.
        observer: Is told what happens.

    Yields:
        The model server, and the addresses with the ports that were found for 0.

    Raises:
        AddressError: A port is in use, or the host is not one of this machine.
    """
    server = ModelServer(options, observer)
    async with AsyncExitStack() as stack:
        # Before anything is loaded: a port that is in use is to be said at once.
        listener = stack.enter_context(_listen(addresses))
        rest_port = listener.getsockname()[1]
        grpc_server, grpc_port = _grpc_server(server, options, addresses)
        await server.start()
        stack.push_async_callback(server.stop)
        runner = web.AppRunner(
            RestApi(server, options, observer, WebPage()).application(),
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            # It waits as long twice: for requests, then for what they do when they are cancelled.
            shutdown_timeout=options.grace_seconds / 2,
        )
        await runner.setup()
        stack.push_async_callback(_stop_listening, runner, grpc_server, options.grace_seconds)
        await grpc_server.start()
        await web.SockSite(runner, listener).start()
        yield server, Addresses(addresses.host, rest_port, grpc_port)


async def _stop_listening(runner: web.AppRunner, grpc_server: grpc.aio.Server, grace_seconds: float) -> None:
    # At the same time, so that both have the same grace.
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


def _grpc_server(server: ModelServer, options: ServerOptions, addresses: Addresses) -> tuple[grpc.aio.Server, int]:
    grpc_server = grpc.aio.server(
        # What is more is refused before it is read: the queue would not take it.
        maximum_concurrent_rpcs=options.max_concurrency + options.max_queue,
        options=[
            # Without it two servers share a port and nobody is told.
            ("grpc.so_reuseport", 0),
            (
                "grpc.max_receive_message_length",
                min(max(_MIN_TRANSPORT_BYTES, 4 * options.max_body_bytes), _MAX_TRANSPORT_BYTES),
            ),
            ("grpc.max_send_message_length", -1),
        ],
    )
    add_services(server, options.max_body_bytes, grpc_server)
    try:
        return grpc_server, grpc_server.add_insecure_port(addresses.grpc_target)
    except RuntimeError:
        raise _cannot_listen("gRPC", addresses.host, addresses.grpc_port, "it cannot be listened on") from None


def _cannot_listen(api: str, host: str, port: int, reason: str) -> AddressError:
    return AddressError(
        f"{host}:{port}, for {api}: {reason}. Perhaps another server runs there; choose another with --host or "
        f"--{api.lower()}-port."
    )


def _start_up_lines(server: ModelServer, options: ServerOptions, addresses: Addresses, model: str) -> list[str]:
    url = addresses.rest_url
    model_url = f"{url}/v1/models/{model}"
    lines = [f"REST      {model_url}", f"gRPC      {addresses.grpc_target}", f"Metrics   {url}{METRICS_PATH}"]
    if WebPage().is_there:
        lines.append(f"Web page  {url}/")
    try:
        server.signatures(model)
    except ServingError:
        lines.append(
            f"There is no version in {options.serving_root / model} yet; the first is served when it is pushed."
        )
    return [
        *lines,
        "Try it with an image of yours:",
        '  echo "{\\"instances\\": [{\\"b64\\": \\"$(base64 < drawing.png | tr -d \'\\n\')\\"}]}" |',
        f"    curl -s -d @- {model_url}:predict",
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
