import grpc
import pytest

from serving.server.admission import ByteBudget
from serving.server.interface import ServingError


def test_requests_share_the_budget_and_return_their_bytes() -> None:
    budget = ByteBudget(100)
    with budget.request() as set_first, budget.request() as set_second:
        set_first(60)
        set_second(40)
        set_first(50)
        with pytest.raises(ServingError, match="take 90 of 100 bytes, too many to read this one") as raised:
            set_second(51)
        assert raised.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        # The refused size is not taken.
        set_second(50)
    with budget.request() as set_size:
        set_size(100)
