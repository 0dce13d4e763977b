import pytest
from pydantic import ValidationError

from components.data_gate.limits import DataLimits
from components.features import SPLITS


def test_every_split_has_its_limits() -> None:
    limits = DataLimits(
        min_train_examples=11,
        min_eval_examples=12,
        min_test_examples=13,
        min_train_class_examples=1,
        min_eval_class_examples=2,
        min_test_class_examples=3,
    )
    assert [limits.min_examples(split) for split in SPLITS] == [11, 12, 13]
    assert [limits.min_class_examples(split) for split in SPLITS] == [1, 2, 3]


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
