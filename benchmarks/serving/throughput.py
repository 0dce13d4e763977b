"""How many requests the server answers, and how soon, against a loop that only calls the model."""

import asyncio
import gc
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil

from benchmarks.serving.clients import Exchange, ask_until
from benchmarks.serving.images import SIGNATURES, Case
from benchmarks.serving.judgement import SwapLog
from benchmarks.serving.loop_process import LoopProcess
from benchmarks.serving.messages import Api, Expected, Request
from benchmarks.serving.requests import make_requests
from benchmarks.serving.server_process import ServerError, ServerProcess

NUM_CLIENTS = 32
BATCH_SIZES = (1, 32)
CASES = tuple(Case(signature, size) for signature in SIGNATURES for size in BATCH_SIZES)

_WARM_UP_SECONDS = 0.5


@dataclass(frozen=True)
class Window:
    """What the server did in one stretch of time.

    Attributes:
        requests_per_second: How many were answered.
        median_seconds: How long the clients waited, median.
        p99_seconds: The same, 99th percentile.
        server_seconds: CPU time of the server per request.
        client_seconds: CPU time of the clients per request, on the same cores.
        num_failed: How many requests were not answered.
        num_wrong: How many were answered otherwise than the model does.
    """

    requests_per_second: float
    median_seconds: float
    p99_seconds: float
    server_seconds: float
    client_seconds: float
    num_failed: int
    num_wrong: int


@dataclass(frozen=True)
class Throughput:
    """What was measured of one kind of request over one API.

    Attributes:
        case: The kind of request.
        api: The API.
        loop: Calls per second of the loop, one value per repetition, by its number of threads.
        windows: What the server did, one per repetition.
    """

    case: Case
    api: Api
    loop: Mapping[int, Sequence[float]]
    windows: list[Window] = field(default_factory=list)

    @property
    def loop_calls(self) -> float:
        """Calls per second of one loop, median."""
        return statistics.median(self.loop[1])

    @property
    def ratio(self) -> float:
        """How much of that the server reaches."""
        return self.median("requests_per_second") / self.loop_calls

    @property
    def ratio_to_all_cores(self) -> float:
        """How much it reaches of what a loop on each core does, if that is more."""
        return self.median("requests_per_second") / max(statistics.median(calls) for calls in self.loop.values())

    @property
    def tail(self) -> float:
        """How many times its median the 99th percentile of the waiting time is."""
        return statistics.median(window.p99_seconds / window.median_seconds for window in self.windows)

    @property
    def num_unanswered(self) -> int:
        """How many requests failed or were answered wrongly."""
        return sum(window.num_failed + window.num_wrong for window in self.windows)

    def median(self, name: str) -> float:
        """Returns the median of an attribute over the windows."""
        return statistics.median(getattr(window, name) for window in self.windows)


async def measure_throughput(
    server: ServerProcess,
    loop: LoopProcess,
    expected: Mapping[str, Expected],
    *,
    seconds: float,
    num_repetitions: int,
) -> list[Throughput]:
    """Measures loop and server in turn, so that both have the same share of what else the machine does.

    Args:
        server: Serves the original model.
        loop: Calls the same.
        expected: Its answers, by signature.
        seconds: How long each is measured.
        num_repetitions: How often.

    Returns:
        One for each kind of request and API.
    """
    measured = []
    for case in CASES:
        calls: dict[int, list[float]] = {num_threads: [] for num_threads in {1, os.cpu_count() or 1}}
        both = [Throughput(case, api, calls) for api in Api]
        requests = {api: make_requests(api, case, expected[case.signature]) for api in Api}
        for _ in range(num_repetitions):
            for num_threads, measurements in calls.items():
                measurements.append(await loop.calls_per_second(case, num_threads, seconds))
            for each in both:
                each.windows.append(await _measure_window(server, requests[each.api], seconds))
        measured += both
    return measured


def summarize(exchanges: Sequence[Exchange], seconds: float, server_seconds: float, client_seconds: float) -> Window:
    """Makes the figures of a stretch of time.

    Args:
        exchanges: What was answered in it.
        seconds: How long it was.
        server_seconds: CPU time of the server in it.
        client_seconds: CPU time of the clients in it.

    Raises:
        ServerError: Nothing was answered.
    """
    if not exchanges:
        raise ServerError(f"no request was answered in {seconds:.1f} s; measure longer, or look at the server.")
    waited = np.array([each.seconds for each in exchanges])
    problems = [SwapLog.of_one_version(1).problem(each) for each in exchanges]
    num_failed = sum(bool(each.reply.error) for each in exchanges)
    return Window(
        requests_per_second=len(exchanges) / seconds,
        median_seconds=float(np.median(waited)),
        p99_seconds=float(np.percentile(waited, 99)),
        server_seconds=server_seconds / len(exchanges),
        client_seconds=client_seconds / len(exchanges),
        num_failed=num_failed,
        num_wrong=sum(problem is not None for problem in problems) - num_failed,
    )


async def _measure_window(server: ServerProcess, requests: Sequence[Request], seconds: float) -> Window:
    stop = asyncio.Event()
    # Each client begins elsewhere, or all would send the same at the same time.
    of_clients = [[*requests[start:], *requests[:start]] for start in (i % len(requests) for i in range(NUM_CLIENTS))]
    gc.collect()
    # Pauses of the clients would be counted as the server's.
    gc.disable()
    try:
        clients = asyncio.create_task(ask_until(stop, server.address, of_clients))
        await asyncio.sleep(_WARM_UP_SECONDS)
        before, started = _cpu_seconds(server), time.perf_counter()
        await asyncio.sleep(seconds)
        after, ended = _cpu_seconds(server), time.perf_counter()
        stop.set()
        exchanges = await clients
    finally:
        gc.enable()
    inside = [each for each in exchanges if started <= each.answered <= ended]
    return summarize(inside, ended - started, after[0] - before[0], after[1] - before[1])


def _cpu_seconds(server: ServerProcess) -> tuple[float, float]:
    times: list[float] = []
    for process in (server.process, psutil.Process()):
        used = process.cpu_times()
        times.append(used.user + used.system)
    return times[0], times[1]
