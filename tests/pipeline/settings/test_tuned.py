from pathlib import Path
from typing import Any

import pytest

from pipeline.settings.settings import load_settings, parse_assignments
from pipeline.settings.tuned import fixed_hyperparameters, read_trials, tuned_hyperparameters, write_tuned

TUNED: dict[str, Any] = {"learning_rate": 5e-05, "width": 48, "depth": 3, "zoom": 0.1}
MEASURED: dict[str, Any] = {"eval_loss": 0.012345, "eval_accuracy": 0.99625, "seconds": 12.5, "parameters": 100_000}
BEST: dict[str, Any] = {"trial": 3, **MEASURED, **TUNED, "augmentation": 0.5}
WORST: dict[str, Any] = {**BEST, "trial": 0, "eval_loss": 0.5, "width": 64}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_next_run_trains_with_the_best_trial() -> None:
    search = load_settings({"profile": "fast"})
    assert read_trials(search) == ()
    write_tuned(search, [BEST, WORST])
    first_line = search.tuned_file.read_text().splitlines()[0]
    assert first_line.endswith("the best of 2 trials, eval loss 0.0123, accuracy 99.62 %.")
    settings = load_settings({"tuned": "true"})
    assert settings.trainer.model_dump(include=set(TUNED)) == tuned_hyperparameters(BEST) == TUNED
    assert read_trials(settings) == (BEST, WORST)
    assert read_trials(load_settings()) == ()
    settings.trials_file.rename("copied-without-trials.json")
    assert read_trials(settings) == ()
    Path("copied-without-trials.json").rename(settings.trials_file)
    assert sorted(path.name for path in search.tuning_directory.iterdir()) == ["digits.json", "digits.toml"]


@pytest.mark.parametrize(
    ("assignments", "fixed"),
    [
        ((), ()),
        (("profile=fast",), ()),
        (("profile=fast", "trainer.learning_rate=0.02"), ("learning_rate",)),
        (("trainer.width=64", "trainer.rotation=0"), ("rotation", "width")),
    ],
)
def test_what_the_user_sets_is_fixed(assignments: tuple[str, ...], fixed: tuple[str, ...]) -> None:
    assert fixed_hyperparameters(load_settings(parse_assignments(assignments))) == fixed
