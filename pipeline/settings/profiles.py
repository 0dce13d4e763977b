"""Profiles: sets of defaults for a purpose, which every other source of settings overrides."""

from collections.abc import Mapping
from typing import Any, Literal

Profile = Literal["smoke", "fast", "default"]

PROFILES: Mapping[str, Mapping[str, Any]] = {
    # Seconds of work: enough to prove that every step does its part, too little for a good model. Its name keeps what
    # it pushes away from the model in production, and from being a baseline.
    "smoke": {
        "name": "digits-smoke",
        "data": {"sample_fraction": 0.06, "num_shards": 2},
        "trainer": {"epochs": 4, "batch_size": 64},
        "evaluation": {
            "min_accuracy": 0.85,
            "min_digit_accuracy": 0.5,
            "max_log_loss": 1.0,
            "max_calibration_error": 0.15,
            "max_accuracy_drop": 0.1,
            "max_digit_drop": 0.5,
            "max_log_loss_rise": 0.5,
            "max_calibration_error_rise": 0.15,
        },
        "robustness": {
            "sample_fraction": 0.25,
            "min_mean_accuracy": 0.5,
            "min_accuracy": 0.1,
            "max_mean_drop": 0.4,
            "max_drop": 0.9,
        },
    },
    # All the data, one pass: a usable model while trying things out.
    "fast": {
        "trainer": {"epochs": 1},
        "evaluation": {"min_accuracy": 0.975, "min_digit_accuracy": 0.92, "max_log_loss": 0.1},
        "robustness": {"min_mean_accuracy": 0.88, "min_accuracy": 0.65},
    },
    "default": {},
}
