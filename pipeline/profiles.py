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
            "min_accuracy": 0.9,
            "min_digit_accuracy": 0.7,
            "max_accuracy_drop": 0.05,
            "max_digit_drop": 0.2,
        },
    },
    # All the data, one pass: a usable model while trying things out.
    "fast": {
        "trainer": {"epochs": 1},
        "evaluation": {"min_accuracy": 0.98, "min_digit_accuracy": 0.95},
    },
    "default": {},
}
