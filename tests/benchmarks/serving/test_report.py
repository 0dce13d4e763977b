import io
import json

import pytest
from rich.console import Console

from benchmarks.serving.images import Case
from benchmarks.serving.judgement import FAILED, WRONG, Problem
from benchmarks.serving.large_messages import LargeMessage
from benchmarks.serving.memory import MemoryUse
from benchmarks.serving.messages import Api
from benchmarks.serving.report import Report
from benchmarks.serving.swaps import FirstRequests, SwapsUnderLoad
from benchmarks.serving.throughput import Throughput, Window

STEADY = MemoryUse("20 swaps", before=900_000_000, peak=2_000_000_000, after=1_130_000_000)
LEAKING = MemoryUse("20 swaps", before=900_000_000, peak=2_000_000_000, after=1_131_000_000)


def throughput(rate: float = 60.0, p99: float = 0.05, failed: int = 0, wrong: int = 0) -> Throughput:
    window = Window(rate, 0.01, p99, 0.001, 0.0005, failed, wrong)
    return Throughput(Case("serving_default", 32), Api.GRPC, {1: [100.0], 2: [120.0]}, [window])


def first(*slowdowns: float) -> FirstRequests:
    return FirstRequests([0.01, 0.01, 0.9], [slowdown * 0.01 for slowdown in slowdowns])


def swaps(*problems: Problem, memory: MemoryUse = STEADY) -> SwapsUnderLoad:
    return SwapsUnderLoad(20, 1000, problems, memory)


def large(reply: str = "400: too large", *, lives_on: bool = True) -> LargeMessage:
    return LargeMessage(Api.REST, [reply], MemoryUse("100 MB body, REST", 1, 1, 1), lives_on)


def test_all_targets_are_met_at_their_limits() -> None:
    report = Report([throughput()], swaps(), {(Api.REST, "pixels"): first(3.0, 3.0, 9.0)}, [large()])
    assert list(report.missed_targets()) == []


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (
            Report([throughput(rate=59)]),
            "gRPC serving_default x 32: throughput is 0.59 of the loop's, at least 0.6 is wanted.",
        ),
        (Report([throughput(p99=0.051)]), "gRPC serving_default x 32: p99 is 5.1 times the median, at most 5."),
        (
            Report([throughput(failed=1, wrong=2)]),
            "gRPC serving_default x 32: 3 requests failed or were answered wrongly, none may be.",
        ),
        (Report(swaps=swaps(Problem(FAILED, "REST pixels: 503"))), "a failed request during a swap: REST pixels: 503"),
        (Report(swaps=swaps(memory=LEAKING)), "20 swaps: the server holds 1,131 MB afterwards, at most 1,130 MB."),
        (
            Report(first_requests={(Api.REST, "pixels"): first(1.0, 3.1, 3.2)}),
            "REST pixels: the first request after a swap takes 3.1 times the median, at most 3.",
        ),
        (
            Report(large_messages=[large("413: too large")]),
            "100 MB body, REST: the reply is 413: too large, not TF Serving's error.",
        ),
        (Report(large_messages=[large("")]), "100 MB body, REST: the reply is an answer, not TF Serving's error."),
        (
            Report(large_messages=[large(lives_on=False)]),
            "100 MB body, REST: a good request afterwards is not answered.",
        ),
    ],
)
def test_each_missed_target_is_said(report: Report, message: str) -> None:
    assert list(report.missed_targets()) == [message]


def test_of_many_problems_the_first_are_shown() -> None:
    missed = list(Report(swaps=swaps(*[Problem(WRONG, "x")] * 7)).missed_targets())
    assert missed[5:] == ["2 more requests failed or were answered by a wrong version."]


def test_tables_and_values_hold_the_figures() -> None:
    report = Report([throughput()], swaps(), {(Api.REST, "serving_default"): first(2.0)}, [large()])
    text = io.StringIO()
    report.print_tables(Console(file=text, width=80))
    for figure in ("1,920", "0.60", "10.0", "50.0", "1,000 requests, 0 failed", "2.0", "1,130"):
        assert figure in text.getvalue()
    assert "…" not in text.getvalue()
    values = json.loads(json.dumps(report.values()))
    assert values["throughput"][0]["ratio"] == 0.6
    assert values["first_requests"][0]["first_seconds"] == [0.02]
