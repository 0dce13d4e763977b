import pytest

from benchmarks.serving.measurements import FirstRequests, LargeMessage, MemoryUse, SwapsUnderLoad, Throughput
from benchmarks.serving.report import Report

STEADY = MemoryUse("20 swaps", before=900_000_000, peak=2_000_000_000, after=1_130_000_000)
LEAKING = MemoryUse("20 swaps", before=900_000_000, peak=2_000_000_000, after=1_131_000_000)


def throughput(rate: float = 60.0, p99: float = 0.05, problems: list[str] | None = None) -> Throughput:
    return Throughput("GRPC", "serving_default", 32, [100.0], [rate], [0.01], [p99], problems or [])


def first(*slowdowns: float) -> FirstRequests:
    return FirstRequests([0.01, 0.01, 0.9], [slowdown * 0.01 for slowdown in slowdowns])


def swaps(*problems: str, memory: MemoryUse = STEADY) -> SwapsUnderLoad:
    return SwapsUnderLoad(20, 1000, problems, memory)


def large(error: str = "400: too large", problem: str | None = None) -> LargeMessage:
    return LargeMessage("REST", [error], MemoryUse("100 MB body, REST", 1, 1, 1), problem)


@pytest.mark.parametrize(
    ("report", "messages"),
    [
        (Report([throughput()], swaps(), {("REST", "pixels"): first(3.0, 3.0, 9.0)}, [large()]), []),
        (
            Report([throughput(rate=59, p99=0.051, problems=["REST pixels: 503"])]),
            [
                "GRPC serving_default x 32: throughput is 0.59 of the loop's, expected at least 0.6.",
                "GRPC serving_default x 32: p99 is 5.1 times the median, expected at most 5.",
                "REST pixels: 503",
            ],
        ),
        (
            Report(swaps=swaps(*["x"] * 7, memory=LEAKING)),
            [
                *["x"] * 5,
                "2 more requests failed or were answered by a wrong version.",
                "20 swaps: the server holds 1,131 MB afterwards, expected at most 1,130 MB.",
            ],
        ),
        (
            Report(first_requests={("REST", "pixels"): first(1.0, 3.1, 3.2)}),
            ["REST pixels: the first request after a swap takes 3.1 times the median, expected at most 3."],
        ),
        (
            Report(large_messages=[large("413: too large"), large(""), large(problem="REST pixels: 503")]),
            [
                "100 MB body, REST: the response is 413: too large, expected TF Serving's error.",
                "100 MB body, REST: the response is an answer, expected TF Serving's error.",
                "100 MB body, REST: a good request afterwards failed: REST pixels: 503",
            ],
        ),
    ],
)
def test_missed_targets(report: Report, messages: list[str]) -> None:
    assert list(report.missed_targets()) == messages


def test_tables_hold_the_figures() -> None:
    report = Report([throughput()], swaps(), {("REST", "serving_default"): first(2.0)}, [large()])
    text = "\n".join(report.tables())
    for figure in ("1,920", "0.60", "10.0", "50.0", "1,000 requests, 0 failed", "2.0", "1,130"):
        assert figure in text
