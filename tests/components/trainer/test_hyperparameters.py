import pytest
from pydantic import ValidationError

from components.trainer.hyperparameters import NO_AUGMENTATION, Hyperparameters


def test_json_round_trip() -> None:
    changed = Hyperparameters(epochs=2, seed=5)
    assert Hyperparameters.model_validate(changed.model_dump(mode="json")) == changed


def test_no_augmentation_covers_every_kind() -> None:
    fields = Hyperparameters.model_fields.items()
    assert set(NO_AUGMENTATION) == {name for name, field in fields if "Augmentation:" in (field.description or "")}
    assert not any(NO_AUGMENTATION.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("learning_rate", 0),
        ("label_smoothing", 1),
        ("zoom", 1),
        ("disturbed_share", 1.1),
        ("preparation", "photo"),
    ],
)
def test_values_out_of_range_are_errors(field: str, value: float | str) -> None:
    with pytest.raises(ValidationError, match=field):
        Hyperparameters(**{field: value})
