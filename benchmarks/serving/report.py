"""What was measured, as tables for people and values for programs, and which targets are missed."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.serving.judgement import FAILED, WRONG, count_kinds
from benchmarks.serving.large_messages import LargeMessage
from benchmarks.serving.memory import MemoryUse
from benchmarks.serving.swaps import FirstRequests, Kind, SwapsUnderLoad
from benchmarks.serving.throughput import NUM_CLIENTS, Throughput

MIN_RATIO = 0.6
MAX_TAIL = 5.0
MAX_FIRST_SLOWDOWN = 3.0

_MEGABYTE = 1e6
_NUM_PROBLEMS_SHOWN = 5


@dataclass
class Report:
    """Everything that was measured; what was left out is empty."""

    throughputs: Sequence[Throughput] = ()
    swaps: SwapsUnderLoad | None = None
    first_requests: Mapping[Kind, FirstRequests] = field(default_factory=dict)
    large_messages: Sequence[LargeMessage] = ()

    def missed_targets(self) -> Iterator[str]:
        """Says which targets are missed, one sentence each."""
        for throughput in self.throughputs:
            yield from _missed_by_throughput(throughput)
        if self.swaps:
            yield from _missed_by_swaps(self.swaps)
        for kind, first in self.first_requests.items():
            if (slowdown := statistics.median(first.slowdowns)) > MAX_FIRST_SLOWDOWN:
                yield (
                    f"{' '.join(kind)}: the first request after a swap takes {slowdown:.1f} times the median, "
                    f"at most {MAX_FIRST_SLOWDOWN:.0f}."
                )
        for message in self.large_messages:
            yield from _missed_by_large_message(message)

    def values(self) -> dict[str, Any]:
        """Returns all figures, in seconds and bytes, as JSON can hold them."""
        return {
            "throughput": [asdict(each) | {"ratio": each.ratio, "tail": each.tail} for each in self.throughputs],
            "swaps": asdict(self.swaps) if self.swaps else None,
            "first_requests": [
                {"api": kind[0], "signature": kind[1], **asdict(first)} for kind, first in self.first_requests.items()
            ],
            "large_messages": [asdict(each) for each in self.large_messages],
        }

    def print_tables(self, console: Console) -> None:
        """Shows what was measured."""
        if self.throughputs:
            console.print(_throughput_table(self.throughputs))
            console.print(_latency_table(self.throughputs))
        if self.swaps:
            kinds = count_kinds(self.swaps.problems)
            console.print(
                f"{self.swaps.num_swaps} swaps under load: {self.swaps.num_requests:,} requests, "
                f"{kinds[FAILED]} failed, {kinds[WRONG]} answered by a wrong version\n"
            )
        if self.first_requests:
            console.print(_first_table(self.first_requests))
        memory = [self.swaps.memory] if self.swaps else []
        if memory := memory + [message.memory for message in self.large_messages]:
            console.print(_memory_table(memory))


def _missed_by_throughput(throughput: Throughput) -> Iterator[str]:
    name = f"{throughput.api} {_kind(throughput)}"
    if throughput.ratio < MIN_RATIO:
        yield f"{name}: throughput is {throughput.ratio:.2f} of the loop's, at least {MIN_RATIO} is wanted."
    if throughput.tail > MAX_TAIL:
        yield f"{name}: p99 is {throughput.tail:.1f} times the median, at most {MAX_TAIL:.0f}."
    if throughput.num_unanswered:
        yield f"{name}: {throughput.num_unanswered} requests failed or were answered wrongly, none may be."


def _missed_by_swaps(swaps: SwapsUnderLoad) -> Iterator[str]:
    for problem in swaps.problems[:_NUM_PROBLEMS_SHOWN]:
        yield f"a {problem.kind} request during a swap: {problem.text}"
    if (more := len(swaps.problems) - _NUM_PROBLEMS_SHOWN) > 0:
        yield f"{more} more requests failed or were answered by a wrong version."
    yield from _missed_by_memory(swaps.memory)


def _missed_by_large_message(message: LargeMessage) -> Iterator[str]:
    if not message.is_refused:
        replies = ", ".join(dict.fromkeys(reply[:100] or "an answer" for reply in message.replies))
        yield f"{message.memory.event}: the reply is {replies}, not TF Serving's error."
    if not message.lives_on:
        yield f"{message.memory.event}: a good request afterwards is not answered."
    yield from _missed_by_memory(message.memory)


def _missed_by_memory(memory: MemoryUse) -> Iterator[str]:
    if not memory.has_returned:
        after, limit = (value / _MEGABYTE for value in (memory.after, memory.limit))
        yield f"{memory.event}: the server holds {after:,.0f} MB afterwards, at most {limit:,.0f} MB."


def _throughput_table(throughputs: Sequence[Throughput]) -> Table:
    columns = ("per second", "API", "requests", "images", "loop", "ratio", "to a loop on each core")
    table = Table(*columns, title=f"{NUM_CLIENTS} clients, against calling the model in a loop", box=box.SIMPLE_HEAD)
    for each in throughputs:
        rate = each.median("requests_per_second")
        rates = (rate, rate * each.case.batch_size, each.loop_calls)
        ratios = (each.ratio, each.ratio_to_all_cores)
        table.add_row(
            _kind(each), each.api, *(f"{value:,.0f}" for value in rates), *(f"{value:.2f}" for value in ratios)
        )
    return table


def _latency_table(throughputs: Sequence[Throughput]) -> Table:
    columns = ("ms", "API", "median", "p99", "x median", "server", "clients")
    table = Table(*columns, title="Waiting time, and CPU time of server and clients", box=box.SIMPLE_HEAD)
    for each in throughputs:
        median, p99 = (f"{each.median(name) * 1e3:.1f}" for name in ("median_seconds", "p99_seconds"))
        server, clients = (f"{each.median(name) * 1e3:.2f}" for name in ("server_seconds", "client_seconds"))
        table.add_row(_kind(each), each.api, median, p99, f"{each.tail:.1f}", server, clients)
    return table


def _first_table(first_requests: Mapping[Kind, FirstRequests]) -> Table:
    title = "One client: the first request that a new version answers, medians"
    columns = ("ms", "API", "steady", "first", "slowest", "first/steady", "slowest")
    table = Table(*columns, title=title, box=box.SIMPLE_HEAD)
    for (api, signature), first in first_requests.items():
        milliseconds = np.array(first.first_seconds) * 1e3
        times = (np.median(first.steady_seconds) * 1e3, np.median(milliseconds), milliseconds.max())
        slowdowns = (statistics.median(first.slowdowns), max(first.slowdowns))
        table.add_row(signature, api, *(f"{each:.2f}" for each in times), *(f"{each:.1f}" for each in slowdowns))
    return table


def _memory_table(uses: Sequence[MemoryUse]) -> Table:
    columns = ("memory of the server (MB)", "before", "peak", "after", "at most")
    table = Table(*columns, box=box.SIMPLE_HEAD)
    for use in uses:
        values = (use.before, use.peak, use.after, use.limit)
        table.add_row(use.event, *(f"{value / _MEGABYTE:,.0f}" for value in values))
    return table


def _kind(throughput: Throughput) -> str:
    return f"{throughput.case.signature} x {throughput.case.batch_size}"
