import grpc
import pytest

from serving.server.admission import ByteBudget
from serving.server.interface import ServingError


def test_requests_share_the_budget_and_return_their_bytes() -> None:
    budget = ByteBudget(100)
    with budget.request() as set_first, budget.request() as set_second:
        set_first(60, 0)
        set_second(40, 0)
        set_first(50, 0)
        with pytest.raises(ServingError, match="take 90 of 100 bytes, which leaves too few for this one") as raised:
            set_second(51, 0)
        assert raised.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        # The refused size is not taken.
        set_second(50, 0)
    with budget.request() as set_size:
        set_size(100, 0)


def test_large_requests_that_have_not_arrived_take_half_of_the_budget() -> None:
    mib = 2**20
    budget = ByteBudget(100 * mib)
    with budget.request() as set_first, budget.request() as set_second:
        set_first(0, 60 * mib)
        with pytest.raises(ServingError, match="take 62,914,560 of 104,857,600 bytes"):
            set_second(0, mib)
        set_second(0, 1000)
        set_second(40 * mib, 0)
        set_second(0, 0)
        set_first(30 * mib, 60 * mib)
        set_second(0, 20 * mib)
        with pytest.raises(ServingError, match="take 83,886,080 of 104,857,600 bytes"):
            set_second(0, 21 * mib)
