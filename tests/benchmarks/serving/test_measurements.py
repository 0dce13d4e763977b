import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from benchmarks.serving.measurements import (
    LargeMessage,
    MemoryUse,
    Swap,
    Throughput,
    find_problem,
    find_problems,
    large_png,
    only,
    possible_versions,
)
from benchmarks.serving.server import ServerError
from benchmarks.serving.traffic import APIS, Answer, Exchange
from serving.server.metrics import Api

MakeExchange = Callable[..., Exchange]

SWAPS = [Swap(1, -math.inf, -math.inf), Swap(2, pushed=10.0, served=12.0), Swap(3, pushed=20.0, served=22.0)]
OLD, NEW = (9, 3), (0, 4)


@pytest.mark.parametrize(
    ("sent", "answered", "versions"),
    [
        (1.0, 9.9, [1]),
        (9.0, 10.1, [1, 2]),
        (11.0, 11.5, [1, 2]),
        (12.1, 19.0, [2]),
        (11.9, 20.1, [1, 2, 3]),
        (23.0, 24.0, [3]),
    ],
)
def test_versions_that_may_answer_a_request(sent: float, answered: float, versions: list[int]) -> None:
    assert possible_versions(SWAPS, sent, answered) == versions


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("digits", "version", "sent", "is_right"),
    [
        (OLD, 1, 5.0, True),
        (NEW, 2, 5.0, False),
        (OLD, 1, 11.0, True),
        (NEW, 2, 11.0, True),
        (OLD, 1, 15.0, False),
        (NEW, 2, 15.0, True),
        ((0, 3), 2, 15.0, False),
    ],
)
def test_digits_identify_the_version(
    make_exchange: MakeExchange, api: Api, digits: tuple[int, ...], version: int, sent: float, is_right: bool
) -> None:
    problem = find_problem(SWAPS, make_exchange(api, digits, version, sent, sent + 0.1))
    assert (problem is None) == is_right


def test_problems_of_single_exchanges(make_exchange: MakeExchange) -> None:
    assert find_problem(SWAPS, make_exchange("GRPC", NEW, 1, 11.0, 11.1)) == (
        "GRPC pixels: digits [0, 4] of version 1; expected one of the versions [1, 2], where the original model "
        "answers [9, 3]"
    )
    failed = find_problem(SWAPS, make_exchange("GRPC", error="UNAVAILABLE: closing"))
    assert failed == "GRPC pixels: UNAVAILABLE: closing"
    page = find_problem(SWAPS, make_exchange("REST", content=b"<html>"))
    assert page == "REST pixels: not an answer of the contract: b'<html>'"


def test_a_client_must_not_go_back_to_an_older_version(make_exchange: MakeExchange) -> None:
    exchanges = [
        make_exchange("GRPC", NEW, 2, 11.0, 11.5),
        make_exchange("GRPC", content=b"<html>"),
        make_exchange("GRPC", OLD, 1, 11.0, 11.5),
        make_exchange("GRPC", OLD, 1, 11.0, 11.5, client=1),
    ]
    assert find_problems(SWAPS, exchanges)[1:] == ["client 0: version 1 after version 2"]


def test_blank_images_are_blank_to_all_models() -> None:
    statuses = np.array([b"blank", b"ok"])
    assert Answer(np.array([-1, 0]), statuses).is_right(Answer(np.array([-1, 9]), statuses), digit_shift=1)


def test_throughput_of_windows(make_exchange: MakeExchange) -> None:
    throughput = Throughput("REST", "pixels", 1, loop_rates=[50.5, 1.0, 101.0])
    exchanges = [make_exchange("REST", answered=seconds / 100) for seconds in range(1, 102)]
    throughput.add_window(exchanges, 2.0, version=1)
    assert (throughput.rates, throughput.ratio, throughput.problems) == ([50.5], 1.0, [])
    assert (throughput.median_seconds, throughput.p99_seconds) == (pytest.approx([0.51]), pytest.approx([1.0]))
    assert throughput.tail == pytest.approx(1.0 / 0.51)
    throughput.add_window([make_exchange("REST", error="503"), make_exchange("REST", NEW)], 2.0, version=1)
    assert len(throughput.problems) == 2
    with pytest.raises(ServerError, match="no request was answered in 2.0 s; measure longer"):
        throughput.add_window([], 2.0, version=1)


def test_only_names_one_version() -> None:
    assert possible_versions(only(7), 0.0, 1.0) == [7]


@pytest.mark.parametrize(
    ("api", "errors", "is_refused"),
    [
        ("REST", ["400: too large", "400: too large"], True),
        ("REST", ["400: too large", "413: too large"], False),
        ("REST", ["ServerDisconnectedError: "], False),
        ("GRPC", ["INVALID_ARGUMENT: too large"], True),
        ("GRPC", ["RESOURCE_EXHAUSTED: SERVER: Received message larger than max (2 vs. 1)"], True),
        ("GRPC", ["RESOURCE_EXHAUSTED: too large"], False),
        ("GRPC", [""], False),
    ],
)
def test_only_the_error_of_tf_serving_is_a_refusal(api: Api, errors: list[str], is_refused: bool) -> None:
    assert LargeMessage(api, errors, MemoryUse("a message"), None).is_refused == is_refused


def test_large_png_is_a_small_file_of_a_valid_image() -> None:
    image = Image.open(io.BytesIO(large_png(300)))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (300, 300))
    assert (np.asarray(image) == 255).all()
    assert len(large_png(3_000)) < 3_000 * 3_000 / 500
