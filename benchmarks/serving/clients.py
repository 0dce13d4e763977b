"""Clients that ask one request after the other, many at a time, from one process that costs the server little."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import grpc

from benchmarks.serving.messages import Api, Request
from registry.signatures import DEFAULT_MODEL_NAME

TIMEOUT_SECONDS = 60.0

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_UNLIMITED = -1
# Otherwise all channels of a process to one address share one connection.
_OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


@dataclass(frozen=True)
class Address:
    """Where the server listens on this machine.

    Attributes:
        rest_port: Port of its REST API.
        grpc_port: Port of its gRPC API.
    """

    rest_port: int
    grpc_port: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        content: Body or message; empty where there is an error and gRPC.
        error: Code and message; empty if there was none. The code is as `400` or `INVALID_ARGUMENT`.
    """

    content: bytes
    error: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its reply.

    Attributes:
        client: Number of the client; each sends its next request when it has a reply.
        request: What was sent.
        reply: What came back.
        sent: When, in seconds of `time.perf_counter`.
        answered: When the reply was complete.
    """

    client: int
    request: Request
    reply: Reply
    sent: float
    answered: float

    @property
    def seconds(self) -> float:
        """How long the client waited."""
        return self.answered - self.sent


class Client(Protocol):
    """Something that sends requests, one at a time, over a connection of its own."""

    async def ask(self, content: bytes) -> Reply:
        """Sends a body or message and waits for what comes back."""


class RestClient:
    """Sends JSON."""

    def __init__(self, session: aiohttp.ClientSession, address: Address) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{address.rest_port}/v1/models/{DEFAULT_MODEL_NAME}:predict"

    async def ask(self, content: bytes) -> Reply:
        """Sends a body and waits for what comes back."""
        try:
            async with self._session.post(self._url, data=content) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Reply(b"", f"{type(error).__name__}: {error}")
        if response.status != 200:
            return Reply(body, f"{response.status}: {body.decode(errors='replace')}")
        return Reply(body)


class GrpcClient:
    """Sends serialized messages, and leaves those that come back as they are."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._predict = channel.unary_unary(_PREDICT)

    async def ask(self, content: bytes) -> Reply:
        """Sends a message and waits for what comes back."""
        try:
            return Reply(await self._predict(content, timeout=TIMEOUT_SECONDS))
        except grpc.aio.AioRpcError as error:
            return Reply(b"", f"{error.code().name}: {error.details()}")


@asynccontextmanager
async def open_client(api: Api, address: Address) -> AsyncIterator[Client]:
    """Opens a connection of its own.

    Yields:
        A client of it.
    """
    if api is Api.GRPC:
        options = [_OWN_CONNECTION, ("grpc.max_receive_message_length", _UNLIMITED)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{address.grpc_port}", options=options) as channel:
            yield GrpcClient(channel)
    else:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        headers = {"Content-Type": "application/json"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            yield RestClient(session, address)


async def exchange(client: Client, number: int, request: Request) -> Exchange:
    """Sends one request and takes the time."""
    sent = time.perf_counter()
    reply = await client.ask(request.content)
    return Exchange(number, request, reply, sent, time.perf_counter())


async def ask_until(
    stop: asyncio.Event, address: Address, requests_of_clients: Sequence[Sequence[Request]]
) -> list[Exchange]:
    """Lets clients ask, each one request after the other, until they are stopped.

    Args:
        stop: Set when they shall stop; each waits for its last reply.
        address: Where they ask.
        requests_of_clients: For each client what it sends, over and over; all of them by one API.

    Returns:
        All exchanges, in the order of the clients.
    """

    async def ask(number: int, requests: Sequence[Request]) -> list[Exchange]:
        exchanges: list[Exchange] = []
        async with open_client(requests[0].api, address) as client:
            while not stop.is_set():
                exchanges.append(await exchange(client, number, requests[len(exchanges) % len(requests)]))
        return exchanges

    clients = await asyncio.gather(*(ask(*each) for each in enumerate(requests_of_clients)))
    return [each for exchanges in clients for each in exchanges]
