"""What clients notice of a new version: under load, and with the first request that it answers."""

import asyncio
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import numpy as np

from benchmarks.serving.clients import Client, Exchange, ask_until, exchange, open_client
from benchmarks.serving.images import SIGNATURES
from benchmarks.serving.judgement import Problem, Swap, SwapLog, find_problems
from benchmarks.serving.memory import MemoryUse, measure_memory
from benchmarks.serving.messages import Api, Expected, Request
from benchmarks.serving.requests import make_mixed_requests
from benchmarks.serving.server_process import ServerError, ServerProcess
from benchmarks.serving.throughput import NUM_CLIENTS
from benchmarks.serving.versions import TwoModels

_STEADY_SECONDS = 1.0
_MAX_SWAP_SECONDS = 60.0


@dataclass(frozen=True)
class SwapsUnderLoad:
    """What the clients noticed.

    Attributes:
        num_swaps: How many versions were pushed.
        num_requests: How many requests were sent meanwhile.
        problems: What was wrong with them.
        memory: What the swaps cost.
    """

    num_swaps: int
    num_requests: int
    problems: Sequence[Problem]
    memory: MemoryUse


@dataclass
class FirstRequests:
    """How long the first request to each new version took, of one API and signature.

    Attributes:
        steady_seconds: Waiting times while nothing was pushed.
        first_seconds: Waiting time of the first request that each new version answered.
    """

    steady_seconds: list[float] = field(default_factory=list)
    first_seconds: list[float] = field(default_factory=list)

    @property
    def slowdowns(self) -> list[float]:
        """How many times the steady median each first request took."""
        return [seconds / float(np.median(self.steady_seconds)) for seconds in self.first_seconds]


Kind = tuple[Api, str]


def mixed_clients(expected: Mapping[str, Expected]) -> list[list[Request]]:
    """Makes what `NUM_CLIENTS` clients send: both signatures in turn, half of the clients over each API.

    Args:
        expected: What the original model answers, by signature.
    """
    requests = {api: make_mixed_requests(api, 1, expected) for api in Api}
    return [requests[list(Api)[client % len(Api)]] for client in range(NUM_CLIENTS)]


async def swap_under_load(
    server: ServerProcess, models: TwoModels, expected: Mapping[str, Expected], versions: range
) -> SwapsUnderLoad:
    """Pushes versions while clients ask both signatures over both APIs.

    Args:
        server: Serves the version before the first of them, and no other.
        models: What is pushed.
        expected: What the original model answers, by signature.
        versions: Numbers of the versions that are pushed.
    """
    of_clients = mixed_clients(expected)
    exchanges: list[Exchange] = []
    swaps = [Swap(versions[0] - 1, -math.inf, -math.inf)]

    async def swap_all() -> None:
        stop = asyncio.Event()
        clients = asyncio.create_task(ask_until(stop, server.address, of_clients))
        try:
            for number in versions:
                await asyncio.sleep(_STEADY_SECONDS)
                # The clients go on meanwhile.
                pushed = await asyncio.to_thread(models.push, number, server.serving_directory)
                await server.wait_until_serves(number)
                swaps.append(Swap(number, pushed, time.perf_counter()))
            await asyncio.sleep(_STEADY_SECONDS)
        finally:
            stop.set()
            exchanges.extend(await clients)

    memory = await measure_memory(server.process, f"{len(versions)} swaps under load", swap_all)
    return SwapsUnderLoad(len(versions), len(exchanges), find_problems(SwapLog(swaps), exchanges), memory)


async def time_first_requests(
    server: ServerProcess, models: TwoModels, expected: Mapping[str, Expected], versions: range
) -> dict[Kind, FirstRequests]:
    """Pushes versions while one client asks, one request after the other, and no other does.

    Args:
        server: Serves the version before the first of them, and no other.
        models: What is pushed.
        expected: What the original model answers, by signature.
        versions: Numbers of the versions that are pushed.

    Returns:
        By API and signature.
    """
    measured: dict[Kind, FirstRequests] = defaultdict(FirstRequests)
    requests = _in_turn(expected)
    async with AsyncExitStack() as stack:
        clients = {api: await stack.enter_async_context(open_client(api, server.address)) for api in Api}
        for number in versions:
            await _ask_steadily(clients, requests, number - 1, measured)
            models.push(number, server.serving_directory)
            await _ask_until_new(clients, requests, number, measured)
            await server.wait_until_serves(number)
    return dict(measured)


def _in_turn(expected: Mapping[str, Expected]) -> Iterator[Request]:
    of_apis = [make_mixed_requests(api, 1, expected) for api in Api]
    return itertools.cycle(itertools.chain.from_iterable(zip(*of_apis, strict=True)))


async def _ask_steadily(
    clients: Mapping[Api, Client], requests: Iterator[Request], number: int, measured: Mapping[Kind, FirstRequests]
) -> None:
    end = time.perf_counter() + _STEADY_SECONDS
    log = SwapLog.of_one_version(number)
    while time.perf_counter() < end:
        request = next(requests)
        done = await exchange(clients[request.api], 0, request)
        if problem := log.problem(done):
            raise ServerError(problem.text)
        measured[request.api, request.signature].steady_seconds.append(done.seconds)


async def _ask_until_new(
    clients: Mapping[Api, Client], requests: Iterator[Request], number: int, measured: Mapping[Kind, FirstRequests]
) -> None:
    old, new = SwapLog.of_one_version(number - 1), SwapLog.of_one_version(number)
    missing = {(api, signature) for api in Api for signature in SIGNATURES}
    end = time.perf_counter() + _MAX_SWAP_SECONDS
    while missing:
        request = next(requests)
        kind = (request.api, request.signature)
        done = await exchange(clients[request.api], 0, request)
        problem = new.problem(done)
        if problem is None and kind in missing:
            missing.remove(kind)
            measured[kind].first_seconds.append(done.seconds)
        elif problem and old.problem(done):
            raise ServerError(problem.text)
        if time.perf_counter() > end:
            raise ServerError(f"version {number} does not answer {_MAX_SWAP_SECONDS:.0f} s after it was pushed")
