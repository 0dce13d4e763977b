"""Measures how the server handles requests that arrive much faster than it can answer them."""

import asyncio
import gc
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np

from benchmarks.serving.measurements import find_problem, only
from benchmarks.serving.server import Server
from benchmarks.serving.traffic import (
    APIS,
    NUM_CLIENTS,
    Answer,
    Exchange,
    connect,
    exchange,
    make_requests,
    send_until,
)
from registry.signatures import SERVING_DEFAULT
from serving.server.metrics import Api

OVERLOAD = 5
"""Offered rate, as a multiple of the rate at which the server can answer."""
BATCH_SIZE = 32
"""Images per request: enough that the clients, also written in Python, are faster than the server."""
REFUSALS: Mapping[Api, str] = {"REST": "503", "GRPC": "RESOURCE_EXHAUSTED"}


@dataclass(frozen=True)
class Overload:
    """The results of the requests to one API.

    Attributes:
        api: The API.
        capacity: Requests that were answered per second when each client waited for its response.
        offered_rate: Requests that were sent per second during the overload, whatever the responses.
        offered: Number of requests.
        answered: Those with a right answer.
        shed: Those that the server refused because it was busy.
        lost: All others: no response, another error or a wrong answer.
        p99_seconds: 99th percentile of the waiting time of the answered requests; infinite if there are none.
        problems: Why requests were lost.
    """

    api: Api
    capacity: float
    offered_rate: float
    offered: int
    answered: int
    shed: int
    lost: int
    p99_seconds: float
    problems: Sequence[str]


async def measure_overload(
    server: Server, expected: Mapping[str, Answer], version: int, *, seconds: float
) -> list[Overload]:
    """Measures the capacity of each API, then sends five times as many requests per second.

    Args:
        server: Serves the original model, and nothing else at the time.
        expected: The answers of the original model, by signature.
        version: The version that is served.
        seconds: Duration of each measurement and of each overload.

    Returns:
        One row per API.
    """
    measured = []
    for api in APIS:
        requests = make_requests(api, SERVING_DEFAULT, BATCH_SIZE, expected[SERVING_DEFAULT])
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, stop.set)
        started = time.perf_counter()
        capacity = len(await send_until(stop, server.address, [requests] * NUM_CLIENTS)) / (
            time.perf_counter() - started
        )
        num_requests = round(OVERLOAD * capacity * seconds)
        async with AsyncExitStack() as stack:
            sends = [await stack.enter_async_context(connect(api, server.address)) for _ in range(NUM_CLIENTS)]
            gc.collect()
            started = time.perf_counter()
            tasks = []
            for number in range(num_requests):
                await asyncio.sleep(started + number / (OVERLOAD * capacity) - time.perf_counter())
                send, request = sends[number % NUM_CLIENTS], requests[number % len(requests)]
                tasks.append(asyncio.create_task(exchange(send, number, request)))
            offered_rate = num_requests / (time.perf_counter() - started)
            exchanges = await asyncio.gather(*tasks)
        measured.append(summarize(api, capacity, offered_rate, exchanges, version))
    return measured


def summarize(api: Api, capacity: float, offered_rate: float, exchanges: Sequence[Exchange], version: int) -> Overload:
    """Counts the exchanges of an overload by their results."""
    others = [each for each in exchanges if not each.error.startswith(REFUSALS[api])]
    problems = [problem for each in others if (problem := find_problem(only(version), each))]
    waited = [each.seconds for each in others if not find_problem(only(version), each)]
    return Overload(
        api,
        capacity,
        offered_rate,
        offered=len(exchanges),
        answered=len(waited),
        shed=len(exchanges) - len(others),
        lost=len(problems),
        p99_seconds=float(np.percentile(waited, 99)) if waited else float("inf"),
        problems=problems,
    )
