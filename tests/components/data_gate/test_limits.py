import pytest
from pydantic import ValidationError

from components.data_gate.limits import DataLimits


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("min_examples", 3, "Extra inputs are not permitted"),
        ("min_train_examples", 0, "greater than or equal to 1"),
        ("min_background", 1.1, "less than or equal to 1"),
        ("min_background", float("nan"), "finite number"),
        ("min_saturated", -0.1, "greater than or equal to 0"),
        ("min_ink", 250, "Extra inputs are not permitted"),
    ],
)
def test_invalid_limits_are_refused(key: str, value: float, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataLimits.model_validate({key: value})
