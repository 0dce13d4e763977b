import math
from collections.abc import Callable

import pytest

from benchmarks.serving.overload import summarize
from benchmarks.serving.traffic import Exchange
from serving.server.metrics import Api


@pytest.mark.parametrize(
    ("api", "refusal", "failure"),
    [
        ("REST", "503: the queue is full", "ServerDisconnectedError: Server disconnected"),
        ("GRPC", "RESOURCE_EXHAUSTED: the queue is full", "UNAVAILABLE: Socket closed"),
    ],
)
def test_requests_are_answered_shed_or_lost(
    make_exchange: Callable[..., Exchange], api: Api, refusal: str, failure: str
) -> None:
    exchanges = [
        make_exchange(api, answered=0.5),
        make_exchange(api, error=refusal, answered=9),
        make_exchange(api, error=refusal, answered=9),
        make_exchange(api, error=failure, answered=9),
        make_exchange(api, digits=(0, 0), answered=9),
    ]
    row = summarize(api, 10, 50, exchanges, 1)
    assert (row.offered, row.answered, row.shed, row.lost) == (5, 1, 2, 2)
    assert row.p99_seconds == 0.5
    assert failure in row.problems[0]


def test_without_answers_there_is_no_latency(make_exchange: Callable[..., Exchange]) -> None:
    row = summarize("REST", 10, 50, [make_exchange("REST", error="503: full")], 1)
    assert (row.answered, row.p99_seconds) == (0, math.inf)
