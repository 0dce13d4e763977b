"""Measures one part after the other on one server."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.clients import ask_until
from benchmarks.serving.images import SIGNATURES
from benchmarks.serving.large_messages import send_large_messages
from benchmarks.serving.loop_process import LoopProcess
from benchmarks.serving.messages import Api, Expected
from benchmarks.serving.report import Report
from benchmarks.serving.requests import make_mixed_requests
from benchmarks.serving.server_process import ServerProcess, run_server, serving_directory
from benchmarks.serving.swaps import mixed_clients, swap_under_load, time_first_requests
from benchmarks.serving.throughput import measure_throughput
from benchmarks.serving.versions import TwoModels, make_two_models

THROUGHPUT = "throughput"
SWAPS = "swaps"
FIRST = "first"
MEMORY = "memory"
PARTS = (THROUGHPUT, FIRST, SWAPS, MEMORY)

_FIRST_VERSION = 1
_WARM_UP_SECONDS = 3.0


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        parts: Which of `PARTS`.
        seconds: How long each throughput is measured.
        num_repetitions: How often.
        num_swaps: How many versions are pushed, in each part that pushes any.
    """

    parts: Collection[str]
    seconds: float
    num_repetitions: int
    num_swaps: int


async def measure(model: Path, directory: Path, extent: Extent) -> Report:
    """Measures `digits serve`.

    Args:
        model: Folder of a pushed version.
        directory: An empty folder, which becomes the workspace of the server.
        extent: How much is measured.

    Raises:
        ServerError: The server does not start, swap or stop.
    """
    with LoopProcess(model) as loop:
        expected = {signature: await loop.expected(signature) for signature in SIGNATURES}
        models = make_two_models(model, directory)
        models.push(_FIRST_VERSION, serving_directory(directory))
        async with run_server(directory, _FIRST_VERSION) as server:
            await _warm_up(server, expected)
            return await _Measurement(server, loop, models, expected, extent).run()


@dataclass
class _Measurement:
    """The state of a measurement: above all, which version is served."""

    server: ServerProcess
    loop: LoopProcess
    models: TwoModels
    expected: Mapping[str, Expected]
    extent: Extent
    version: int = _FIRST_VERSION

    async def run(self) -> Report:
        report = Report()
        if THROUGHPUT in self.extent.parts:
            report.throughputs = await measure_throughput(
                self.server,
                self.loop,
                self.expected,
                seconds=self.extent.seconds,
                num_repetitions=self.extent.num_repetitions,
            )
        if FIRST in self.extent.parts:
            versions = self._next_versions()
            report.first_requests = await time_first_requests(self.server, self.models, self.expected, versions)
        if SWAPS in self.extent.parts:
            versions = self._next_versions()
            report.swaps = await swap_under_load(self.server, self.models, self.expected, versions)
        if MEMORY in self.extent.parts:
            good = [make_mixed_requests(api, 1, self.expected)[0] for api in Api]
            report.large_messages = await send_large_messages(self.server, good, self.version)
        return report

    def _next_versions(self) -> range:
        versions = range(self.version + 1, self.version + 1 + self.extent.num_swaps)
        self.version = versions[-1]
        return versions


async def _warm_up(server: ServerProcess, expected: Mapping[str, Expected]) -> None:
    # What the first requests allocate is no leak of what is measured afterwards.
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(_WARM_UP_SECONDS, stop.set)
    await ask_until(stop, server.address, mixed_clients(expected))
