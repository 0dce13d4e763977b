import os
from pathlib import Path

from benchmarks.bounds import NO_BOUNDS, set_options
from pipeline.settings.gates import EvaluationSettings, RobustnessSettings
from pipeline.settings.settings import load_settings, parse_assignments


def test_no_bound_is_left_that_a_model_could_break() -> None:
    assignments = tuple(argument for argument in set_options(NO_BOUNDS) if argument != "--set")
    settings = load_settings(parse_assignments(assignments), file=Path(os.devnull))
    bounds = {
        f"{section}.{name}"
        for section, kind in (("evaluation", EvaluationSettings), ("robustness", RobustnessSettings))
        for name in kind.model_fields
        if name.startswith(("min_", "max_"))
    }
    assert set(NO_BOUNDS) == bounds
    for bound, value in NO_BOUNDS.items():
        section, name = bound.split(".")
        assert getattr(getattr(settings, section), name) == value
