"""The tables of the benchmark, and its targets."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.serving.measurements import (
    FirstRequestsByKind,
    LargeMessage,
    MemoryUse,
    SwapsUnderLoad,
    Throughput,
)
from components.verdict import render_table

MIN_RATIO = 0.6
MAX_TAIL = 5.0
MAX_FIRST_SLOWDOWN = 3.0

_MEGABYTE = 1e6
_NUM_PROBLEMS_SHOWN = 5


@dataclass
class Report:
    """All results; a part that was not measured is empty."""

    throughputs: Sequence[Throughput] = ()
    swaps: SwapsUnderLoad | None = None
    first_requests: FirstRequestsByKind = field(default_factory=dict)
    large_messages: Sequence[LargeMessage] = ()

    def missed_targets(self) -> Iterator[str]:
        """Yields each missed target, as a sentence."""
        for each in self.throughputs:
            name = f"{each.api} {each.name}"
            if each.ratio < MIN_RATIO:
                yield f"{name}: throughput is {each.ratio:.2f} of the loop's, expected at least {MIN_RATIO}."
            if each.tail > MAX_TAIL:
                yield f"{name}: p99 is {each.tail:.1f} times the median, expected at most {MAX_TAIL:.0f}."
            yield from _first_problems(each.problems)
        for kind, first in self.first_requests.items():
            if (slowdown := statistics.median(first.slowdowns)) > MAX_FIRST_SLOWDOWN:
                yield (
                    f"{' '.join(kind)}: the first request after a swap takes {slowdown:.1f} times the median, "
                    f"expected at most {MAX_FIRST_SLOWDOWN:.0f}."
                )
        if self.swaps:
            yield from _first_problems(self.swaps.problems)
        for message in self.large_messages:
            if not message.is_refused:
                errors = ", ".join(dict.fromkeys(error[:100] or "an answer" for error in message.errors))
                yield f"{message.memory.event}: the response is {errors}, expected TF Serving's error."
            if message.problem:
                yield f"{message.memory.event}: a good request afterwards failed: {message.problem}"
        for use in self._memory():
            if use.after > use.limit:
                after, limit = use.after / _MEGABYTE, use.limit / _MEGABYTE
                yield f"{use.event}: the server holds {after:,.0f} MB afterwards, expected at most {limit:,.0f} MB."

    def tables(self) -> Iterator[str]:
        """Yields a table of each part that was measured."""
        if self.throughputs:
            yield _throughput_table(self.throughputs)
        if self.first_requests:
            yield _first_table(self.first_requests)
        if self.swaps:
            yield (
                f"{self.swaps.num_swaps} swaps under load: {self.swaps.num_requests:,} requests, "
                f"{len(self.swaps.problems)} failed or answered by a wrong version\n"
            )
        if memory := self._memory():
            rows = [
                (use.event, *(f"{value / _MEGABYTE:,.0f}" for value in (use.before, use.peak, use.after, use.limit)))
                for use in memory
            ]
            yield render_table(("memory of the server (MB)", "before", "peak", "after", "limit"), rows)

    def _memory(self) -> list[MemoryUse]:
        swaps = [self.swaps.memory] if self.swaps else []
        return swaps + [message.memory for message in self.large_messages]


def _first_problems(problems: Sequence[str]) -> Iterator[str]:
    yield from problems[:_NUM_PROBLEMS_SHOWN]
    if (more := len(problems) - _NUM_PROBLEMS_SHOWN) > 0:
        yield f"{more} more requests failed or were answered by a wrong version."


def _throughput_table(throughputs: Sequence[Throughput]) -> str:
    rows = []
    for each in throughputs:
        rate, loop = statistics.median(each.rates), statistics.median(each.loop_rates)
        rates = [f"{value:,.0f}" for value in (rate, rate * each.batch_size, loop)]
        waited = [f"{1e3 * statistics.median(values):.1f}" for values in (each.median_seconds, each.p99_seconds)]
        rows.append((each.name, each.api, *rates, f"{each.ratio:.2f}", *waited, f"{each.tail:.1f}"))
    header = ("", "API", "requests/s", "images/s", "loop/s", "ratio", "median (ms)", "p99 (ms)", "p99 / median")
    return render_table(header, rows)


def _first_table(first_requests: FirstRequestsByKind) -> str:
    rows = []
    for (api, signature), first in first_requests.items():
        seconds = (statistics.median(first.steady_seconds), statistics.median(first.first_seconds))
        slowdowns = (statistics.median(first.slowdowns), max(first.slowdowns))
        times = [f"{1e3 * value:.2f}" for value in seconds]
        rows.append((signature, api, *times, *(f"{value:.1f}" for value in slowdowns)))
    header = ("one client", "API", "steady (ms)", "first (ms)", "first / steady", "slowest / steady")
    return render_table(header, rows)
