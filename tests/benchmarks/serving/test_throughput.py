from collections.abc import Callable

import pytest

from benchmarks.serving.clients import Exchange
from benchmarks.serving.images import Case
from benchmarks.serving.messages import Api
from benchmarks.serving.server_process import ServerError
from benchmarks.serving.throughput import Throughput, Window, summarize

MakeExchange = Callable[..., Exchange]


def test_figures_of_a_window(make_exchange: MakeExchange) -> None:
    exchanges = [make_exchange(Api.REST, answered=seconds / 100) for seconds in range(1, 102)]
    window = summarize(exchanges, seconds=2.0, server_seconds=1.01, client_seconds=0.505)
    assert window.requests_per_second == 50.5
    assert (window.median_seconds, window.p99_seconds) == pytest.approx((0.51, 1.0))
    assert (window.server_seconds, window.client_seconds) == pytest.approx((0.01, 0.005))
    assert (window.num_failed, window.num_wrong) == (0, 0)


def test_failed_and_wrong_answers_are_counted(make_exchange: MakeExchange) -> None:
    exchanges = [
        make_exchange(Api.GRPC, error="UNAVAILABLE: full"),
        make_exchange(Api.GRPC, digits=(9, 4)),
        make_exchange(Api.GRPC, version=2),
        make_exchange(Api.GRPC),
    ]
    window = summarize(exchanges, 1.0, 1.0, 1.0)
    assert (window.num_failed, window.num_wrong) == (1, 2)


def test_ratios_are_of_medians() -> None:
    windows = [Window(rate, 0.01, 0.02, 0, 0, 0, 0) for rate in (60.0, 1.0, 90.0)]
    loop = {1: [50.0, 50.0, 50.0], 2: [1.0, 100.0, 1000.0]}
    throughput = Throughput(Case("pixels", 1), Api.REST, loop, windows)
    assert (throughput.ratio, throughput.ratio_to_all_cores) == (1.2, 0.6)


def test_a_window_without_answers_is_an_error() -> None:
    with pytest.raises(ServerError, match="no request was answered in 2.0 s; measure longer"):
        summarize([], 2.0, 0.0, 0.0)
