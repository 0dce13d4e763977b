import pytest
from pydantic import ValidationError

from components.serving_check.limits import ServingLimits


def test_limits_survive_serialization() -> None:
    limits = ServingLimits(huge_batch=7, tolerance=1e-5)
    assert ServingLimits.model_validate_json(limits.model_dump_json()) == limits


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_requests", 0, "greater than or equal to 1"),
        ("huge_batch", 0, "greater than or equal to 1"),
        ("huge_batch", 2049, "less than or equal to 2048"),
        ("num_requests", 257, "less than or equal to 256"),
        ("tolerance", 0.5, "less than or equal to 0.01"),
        ("min_agreement", 1.5, "less than or equal to 1"),
        ("max_latency_ms", float("inf"), "finite number"),
        ("timeout_s", 0, "greater than 0"),
        ("retries", 3, "Extra inputs are not permitted"),
    ],
)
def test_invalid_limits_are_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ServingLimits.model_validate({name: value})
