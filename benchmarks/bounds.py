"""Settings with which gates measure and do not judge, for models that are to be compared, not released."""

from collections.abc import Mapping
from typing import Any

NO_BASELINE: Mapping[str, float] = {
    "evaluation.max_accuracy_drop": 1,
    "evaluation.max_digit_drop": 1,
    "evaluation.max_log_loss_rise": 100,
    "evaluation.max_calibration_error_rise": 1,
    "robustness.max_mean_drop": 1,
    "robustness.max_drop": 1,
}
"""A model may be as much worse than the one before as it likes."""

NO_BOUNDS: Mapping[str, float] = {
    **NO_BASELINE,
    "evaluation.min_accuracy": 0,
    "evaluation.min_digit_accuracy": 0,
    "evaluation.max_log_loss": 100,
    "evaluation.max_calibration_error": 1,
    "robustness.min_mean_accuracy": 0,
    "robustness.min_accuracy": 0,
}
"""It may also be as bad as it likes."""


def set_options(settings: Mapping[str, Any]) -> list[str]:
    """Returns the options with which `digits run` takes the settings."""
    return [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
