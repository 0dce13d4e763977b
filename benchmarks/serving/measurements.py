"""Measures throughput, swaps, first requests and memory of a running server, and checks every answer."""

import asyncio
import gc
import itertools
import math
import shutil
import statistics
import struct
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import psutil

from benchmarks.serving.server import DAMAGES, LoopProcess, Server, ServerError, TwoModels, digit_shift
from benchmarks.serving.traffic import (
    APIS,
    NUM_CLIENTS,
    Answer,
    Exchange,
    Request,
    Send,
    connect,
    decode,
    exchange,
    grpc_message,
    make_requests,
    mixed_requests,
    rest_body,
    send_until,
)
from registry.signatures import SERVING_DEFAULT
from serving.server.metrics import Api

BATCH_SIZES = (1, 32)
BODY_BYTES = 100_000_000
PNG_SIZE = 30_000
REFUSALS: Mapping[Api, tuple[str, ...]] = {
    "REST": ("400",),
    "GRPC": ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED: SERVER: Received message larger than max"),
}
"""The codes for an image or a message that is too large."""

_CLIENT_WARM_UP_SECONDS = 0.5
_SERVER_WARM_UP_SECONDS = 3.0
_STEADY_SECONDS = 1.0
_DAMAGED_SECONDS = 3.0
_MAX_SWAP_SECONDS = 60.0
_SETTLE_SECONDS = 5.0
_SAMPLE_SECONDS = 0.02
# The second message shows whether anything of the first is left.
_NUM_LARGE_MESSAGES = 3


@dataclass(frozen=True)
class Swap:
    """The time in which a version became the newest, in seconds of `time.perf_counter`.

    Attributes:
        number: The version.
        pushed: A time before it was visible.
        served: A time at which it answered and its predecessor was gone.
    """

    number: int
    pushed: float
    served: float


def only(number: int) -> list[Swap]:
    """Returns the swaps of a time in which one version was served."""
    return [Swap(number, -math.inf, -math.inf)]


def possible_versions(swaps: Sequence[Swap], sent: float, answered: float) -> list[int]:
    """Returns the versions that may have been the newest between two times."""
    ends = [swap.served for swap in swaps[1:]] + [math.inf]
    return [swap.number for swap, end in zip(swaps, ends, strict=True) if swap.pushed <= answered and sent <= end]


def find_problem(swaps: Sequence[Swap], each: Exchange) -> str | None:
    """Returns why an exchange failed or was answered by a wrong version; None if it is right."""
    name = f"{each.request.api} {each.request.signature}"
    if each.error:
        return f"{name}: {each.error[:300]}"
    try:
        answer = decode(each.request.api, each.content)
    except ValueError as error:
        return f"{name}: {error}"
    possible = possible_versions(swaps, each.sent, each.answered)
    expected = each.request.expected
    if any(answer.version in (None, it) and answer.is_right(expected, digit_shift(it)) for it in possible):
        return None
    return (
        f"{name}: digits {answer.digits.tolist()} of version {answer.version or '?'}; expected one of the versions "
        f"{possible}, where the original model answers {expected.digits.tolist()}"
    )


def find_problems(swaps: Sequence[Swap], exchanges: Sequence[Exchange]) -> list[str]:
    """Returns the problems of all exchanges, also where a client got an older version after a newer one.

    Args:
        swaps: All swaps during the exchanges, in their order.
        exchanges: Those of each client in their order.
    """
    problems = [problem for each in exchanges if (problem := find_problem(swaps, each))]
    by_client = itertools.groupby(exchanges, key=lambda each: each.client)
    return problems + [problem for _, of_client in by_client for problem in _steps_back(of_client)]


def _steps_back(exchanges: Iterable[Exchange]) -> Iterator[str]:
    newest = 0
    for each in exchanges:
        try:
            version = decode(each.request.api, each.content).version or newest
        except ValueError:
            continue
        if version < newest:
            yield f"client {each.client}: version {version} after version {newest}"
        newest = max(newest, version)


@dataclass(frozen=True)
class Throughput:
    """Throughput and latency of one kind of request over one API; one value per repetition in each list.

    Attributes:
        api: The API.
        signature: The signature.
        batch_size: Images per request.
        loop_rates: Calls per second of the loop.
        rates: Requests per second.
        median_seconds: Median of the waiting times.
        p99_seconds: Their 99th percentile.
        problems: All failed requests and wrong answers.
    """

    api: Api
    signature: str
    batch_size: int
    loop_rates: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    median_seconds: list[float] = field(default_factory=list)
    p99_seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Signature and batch size."""
        return f"{self.signature} x {self.batch_size}"

    @property
    def ratio(self) -> float:
        """Requests per second divided by calls per second of the loop, of medians."""
        return statistics.median(self.rates) / statistics.median(self.loop_rates)

    @property
    def tail(self) -> float:
        """99th percentile divided by the median of the waiting time."""
        pairs = zip(self.p99_seconds, self.median_seconds, strict=True)
        return statistics.median(p99 / median for p99, median in pairs)

    def add_window(self, exchanges: Sequence[Exchange], seconds: float, version: int) -> None:
        """Adds the figures of the exchanges in a period of time.

        Raises:
            ServerError: There are none.
        """
        if not exchanges:
            raise ServerError(f"no request was answered in {seconds:.1f} s; measure longer, or check the server.")
        waited = [each.seconds for each in exchanges]
        self.rates.append(len(exchanges) / seconds)
        self.median_seconds.append(float(np.median(waited)))
        self.p99_seconds.append(float(np.percentile(waited, 99)))
        self.problems.extend(find_problems(only(version), exchanges))


async def measure_throughput(
    server: Server,
    loop: LoopProcess,
    expected: Mapping[str, Answer],
    version: int,
    *,
    seconds: float,
    num_repetitions: int,
) -> list[Throughput]:
    """Measures loop and server in turn, so that a change in the speed of the machine affects both.

    Args:
        server: Serves the original model.
        loop: Calls the same model.
        expected: Its answers, by signature.
        version: The version that is served.
        seconds: Duration of each measurement.
        num_repetitions: Number of measurements.

    Returns:
        One result per kind of request and API.
    """
    measured = []
    for signature, batch_size in itertools.product(expected, BATCH_SIZES):
        both = [Throughput(api, signature, batch_size) for api in APIS]
        for _ in range(num_repetitions):
            rate = await loop.calls_per_second(signature, batch_size, seconds)
            for each in both:
                each.loop_rates.append(rate)
                requests = make_requests(each.api, signature, batch_size, expected[signature])
                each.add_window(*await _send_for(server, requests, seconds), version)
        measured += both
    return measured


async def _send_for(server: Server, requests: Sequence[Request], seconds: float) -> tuple[list[Exchange], float]:
    stop = asyncio.Event()
    # Each client starts with another request, so that not all send the same at the same time.
    of_clients = [[*requests[start:], *requests[:start]] for start in (i % len(requests) for i in range(NUM_CLIENTS))]
    gc.collect()
    # Pauses of the clients would count as those of the server.
    gc.disable()
    try:
        clients = asyncio.create_task(send_until(stop, server.address, of_clients))
        await asyncio.sleep(_CLIENT_WARM_UP_SECONDS)
        started = time.perf_counter()
        await asyncio.sleep(seconds)
        ended = time.perf_counter()
        stop.set()
        exchanges = await clients
    finally:
        gc.enable()
    return [each for each in exchanges if started <= each.answered <= ended], ended - started


@dataclass
class MemoryUse:
    """Resident memory of the server, in bytes.

    Attributes:
        event: What happened.
        before: Before the event.
        peak: The highest sample during the event; it can miss a peak shorter than 20 ms.
        after: Some seconds after the event.
    """

    event: str
    before: int = 0
    peak: int = 0
    after: int = 0

    @property
    def limit(self) -> int:
        """The highest allowed value afterwards: an allocator may keep some of what it got."""
        return round(self.before * 1.2) + 50_000_000


@asynccontextmanager
async def watch_memory(process: psutil.Process, event: str) -> AsyncIterator[MemoryUse]:
    """Measures the memory of a process before, during and after the body of the `with` statement."""
    use = MemoryUse(event, process.memory_info().rss)

    async def sample() -> None:
        while True:
            use.peak = max(use.peak, process.memory_info().rss)
            await asyncio.sleep(_SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        yield use
    finally:
        sampling.cancel()
    await asyncio.sleep(_SETTLE_SECONDS)
    use.after = process.memory_info().rss


@dataclass(frozen=True)
class SwapsUnderLoad:
    """The number of swaps and of requests during the swaps, the problems of the requests, and the memory."""

    num_swaps: int
    num_requests: int
    problems: Sequence[str]
    memory: MemoryUse


async def warm_up(server: Server, expected: Mapping[str, Answer]) -> None:
    """Sends requests for some seconds: what the first ones allocate is no leak."""
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(_SERVER_WARM_UP_SECONDS, stop.set)
    await send_until(stop, server.address, _mixed_clients(expected))


async def swap_under_load(
    server: Server, models: TwoModels, expected: Mapping[str, Answer], versions: range
) -> SwapsUnderLoad:
    """Pushes versions while clients send requests to both signatures over both APIs.

    Args:
        server: Serves only the version before the first of `versions`.
        models: The models to push.
        expected: The answers of the original model, by signature.
        versions: The version numbers.
    """
    stop = asyncio.Event()
    swaps = only(versions[0] - 1)
    async with watch_memory(server.process, f"{len(versions)} swaps under load") as memory:
        clients = asyncio.create_task(send_until(stop, server.address, _mixed_clients(expected)))
        try:
            for number in versions:
                await asyncio.sleep(_STEADY_SECONDS)
                pushed = await asyncio.to_thread(models.push, number, server.serving_directory)
                await server.wait_until_serves(number)
                swaps.append(Swap(number, pushed, time.perf_counter()))
            await asyncio.sleep(_STEADY_SECONDS)
        finally:
            stop.set()
            exchanges = await clients
    return SwapsUnderLoad(len(versions), len(exchanges), find_problems(swaps, exchanges), memory)


async def load_damaged(
    server: Server, models: TwoModels, expected: Mapping[str, Answer], version: int
) -> SwapsUnderLoad:
    """Adds damaged versions, one after the other, while clients send requests; each is removed afterwards.

    Args:
        server: Serves `version` only.
        models: The models.
        expected: The answers of the original model, by signature.
        version: The version that must answer all requests.
    """
    stop = asyncio.Event()
    async with watch_memory(server.process, "damaged versions under load") as memory:
        clients = asyncio.create_task(send_until(stop, server.address, _mixed_clients(expected)))
        try:
            for number, damage in enumerate(DAMAGES.values(), start=version + 1):
                await asyncio.to_thread(models.push, number, server.serving_directory, damage)
                await asyncio.sleep(_DAMAGED_SECONDS)
                await asyncio.to_thread(shutil.rmtree, server.serving_directory / str(number))
        finally:
            stop.set()
            exchanges = await clients
    return SwapsUnderLoad(len(DAMAGES), len(exchanges), find_problems(only(version), exchanges), memory)


def _mixed_clients(expected: Mapping[str, Answer]) -> list[list[Request]]:
    requests = [mixed_requests(api, expected) for api in APIS]
    return [requests[client % len(APIS)] for client in range(NUM_CLIENTS)]


@dataclass
class FirstRequests:
    """Waiting times of one API and signature: in a steady state, and of the first answer of each new version."""

    steady_seconds: list[float] = field(default_factory=list)
    first_seconds: list[float] = field(default_factory=list)

    @property
    def slowdowns(self) -> list[float]:
        """Waiting time of each first request divided by the median of the steady state."""
        return [seconds / statistics.median(self.steady_seconds) for seconds in self.first_seconds]


FirstRequestsByKind = dict[tuple[Api, str], FirstRequests]


async def time_first_requests(
    server: Server, models: TwoModels, expected: Mapping[str, Answer], versions: range
) -> FirstRequestsByKind:
    """Pushes versions while a single client sends one request after the other; see `swap_under_load`.

    Returns:
        The waiting times by API and signature.
    """
    measured: FirstRequestsByKind = defaultdict(FirstRequests)
    requests = itertools.cycle(
        itertools.chain.from_iterable(zip(*(mixed_requests(api, expected) for api in APIS), strict=True))
    )
    async with AsyncExitStack() as stack:
        connections = {api: await stack.enter_async_context(connect(api, server.address)) for api in APIS}
        for number in versions:
            await _send_steadily(connections, requests, number - 1, measured)
            models.push(number, server.serving_directory)
            await _send_until_new(connections, requests, number, measured)
            await server.wait_until_serves(number)
    return dict(measured)


async def _send_steadily(
    connections: Mapping[Api, Send], requests: Iterator[Request], number: int, measured: FirstRequestsByKind
) -> None:
    end = time.perf_counter() + _STEADY_SECONDS
    while time.perf_counter() < end:
        request = next(requests)
        done = await exchange(connections[request.api], 0, request)
        if problem := find_problem(only(number), done):
            raise ServerError(problem)
        measured[request.api, request.signature].steady_seconds.append(done.seconds)


async def _send_until_new(
    connections: Mapping[Api, Send], requests: Iterator[Request], number: int, measured: FirstRequestsByKind
) -> None:
    missing = set(measured)
    end = time.perf_counter() + _MAX_SWAP_SECONDS
    while missing:
        request = next(requests)
        kind = (request.api, request.signature)
        done = await exchange(connections[request.api], 0, request)
        problem = find_problem(only(number), done)
        if problem is None and kind in missing:
            missing.remove(kind)
            measured[kind].first_seconds.append(done.seconds)
        elif problem and find_problem(only(number - 1), done):
            raise ServerError(problem)
        if time.perf_counter() > end:
            raise ServerError(f"version {number} does not answer {_MAX_SWAP_SECONDS:.0f} s after its push")


@dataclass(frozen=True)
class LargeMessage:
    """The responses to a message that is too large.

    Attributes:
        api: The API.
        errors: Code and message of each response; empty for an answer.
        memory: Memory of the server.
        problem: Why a good request afterwards failed; None if it did not.
    """

    api: Api
    errors: Sequence[str]
    memory: MemoryUse
    problem: str | None

    @property
    def is_refused(self) -> bool:
        """Whether every response is an error for a message or an image that is too large."""
        return all(error.startswith(REFUSALS[self.api]) for error in self.errors)


async def send_large_messages(server: Server, expected: Mapping[str, Answer], version: int) -> list[LargeMessage]:
    """Sends a 100 MB body and an image of 30,000 by 30,000 pixels over both APIs, each several times.

    Args:
        server: The server.
        expected: The answers of the original model, by signature.
        version: The version that is served.
    """
    to_bytes = {"REST": rest_body, "GRPC": grpc_message}
    contents = {
        f"{BODY_BYTES // 10**6} MB body": bytes(BODY_BYTES),
        f"PNG of {PNG_SIZE:,} x {PNG_SIZE:,}": large_png(PNG_SIZE),
    }
    measured = []
    for (name, image), api in itertools.product(contents.items(), APIS):
        message = to_bytes[api](SERVING_DEFAULT, np.array([image], object))
        errors = []
        async with watch_memory(server.process, f"{name}, {api}") as memory:
            for _ in range(_NUM_LARGE_MESSAGES):
                async with connect(api, server.address) as send:
                    errors.append((await send(message))[1])
        async with connect(api, server.address) as send:
            good = await exchange(send, 0, mixed_requests(api, expected)[0])
        measured.append(LargeMessage(api, errors, memory, find_problem(only(version), good)))
    return measured


def large_png(size: int) -> bytes:
    """Returns a white square, grayscale PNG without ever holding its size * size pixels."""
    bits_per_pixel, grayscale = 8, 0
    header = struct.pack(">IIBBBBB", size, size, bits_per_pixel, grayscale, 0, 0, 0)
    compressor = zlib.compressobj(zlib.Z_BEST_COMPRESSION)
    # Each row starts with the number of its filter; 0 is none.
    row = b"\x00" + b"\xff" * size
    pixels = b"".join([*(compressor.compress(row) for _ in range(size)), compressor.flush()])
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
