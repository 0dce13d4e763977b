import math
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.serving.clients import Exchange, Reply
from benchmarks.serving.judgement import FAILED, WRONG, Swap, SwapLog, count_kinds, find_problems
from benchmarks.serving.messages import Api, Expected, decode

MakeExchange = Callable[..., Exchange]

LOG = SwapLog([Swap(1, -math.inf, -math.inf), Swap(2, pushed=10.0, served=12.0), Swap(3, pushed=20.0, served=22.0)])
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
def test_versions_that_were_the_newest_while_the_request_was_under_way(
    sent: float, answered: float, versions: list[int]
) -> None:
    assert LOG.possible_versions(sent, answered) == versions


@pytest.mark.parametrize("api", list(Api))
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
def test_digits_tell_the_version(
    make_exchange: MakeExchange, api: Api, digits: tuple[int, ...], version: int, sent: float, is_right: bool
) -> None:
    problem = LOG.problem(make_exchange(api, digits, version, sent, sent + 0.1))
    assert (problem is None) == is_right
    assert problem is None or problem.kind == WRONG


def test_version_of_a_grpc_answer_must_be_that_of_its_digits(make_exchange: MakeExchange) -> None:
    problem = LOG.problem(make_exchange(Api.GRPC, NEW, 1, 11.0, 11.1))
    assert problem
    assert problem.text == (
        "gRPC pixels: digits [0, 4] of version 1; of version [1, 2] expected, and by the original model [9, 3]"
    )


def test_another_status_is_wrong(make_exchange: MakeExchange) -> None:
    assert LOG.problem(make_exchange(Api.REST, status="blank"))


def test_refused_request_has_failed(make_exchange: MakeExchange) -> None:
    problem = LOG.problem(make_exchange(Api.GRPC, error="UNAVAILABLE: closing"))
    assert problem
    assert (problem.kind, problem.text) == (FAILED, "gRPC pixels: UNAVAILABLE: closing")


def test_what_is_no_answer_is_wrong(make_exchange: MakeExchange) -> None:
    good = make_exchange(Api.REST)
    problem = LOG.problem(Exchange(0, good.request, Reply(b"<html>"), 0.0, 1.0))
    assert problem
    assert problem.kind == WRONG
    assert "not an answer of the contract: b'<html>'" in problem.text


def test_a_client_never_goes_back_to_an_older_version(make_exchange: MakeExchange) -> None:
    seen = [(0, 1), (0, 2), (0, 1), (1, 1)]
    exchanges = [
        make_exchange(Api.GRPC, OLD if version == 1 else NEW, version, 11.0, 11.5, client) for client, version in seen
    ]
    problems = find_problems(LOG, exchanges)
    assert [problem.text for problem in problems] == ["client 0: version 1 after it had been answered by 2"]


def test_problems_are_counted_by_kind(make_exchange: MakeExchange) -> None:
    exchanges = [make_exchange(Api.REST, error="503"), make_exchange(Api.REST, NEW), make_exchange(Api.REST)]
    assert count_kinds(find_problems(LOG, exchanges)) == {FAILED: 1, WRONG: 1}


def test_blank_images_are_blank_to_all_models(make_exchange: MakeExchange) -> None:
    answer = decode(Api.REST, make_exchange(Api.REST, (-1, 0)).reply.content)
    assert answer.is_right(Expected(np.array([-1, 9]), answer.statuses), digit_shift=1)


def test_what_is_no_answer_does_not_hide_a_step_back(make_exchange: MakeExchange) -> None:
    new, old = (make_exchange(Api.GRPC, digits, number, 11.0, 11.5) for digits, number in ((NEW, 2), (OLD, 1)))
    broken = Exchange(0, new.request, Reply(b"<html>"), 11.0, 11.5)
    texts = [problem.text for problem in find_problems(LOG, [new, broken, old])]
    assert len(texts) == 2
    assert texts[1] == "client 0: version 1 after it had been answered by 2"
