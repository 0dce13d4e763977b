"""The result of a search for hyperparameters in a workspace: settings for the next run, and the trials behind them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.trainer.hyperparameters import Hyperparameters
from pipeline.settings.settings import PROFILES, Settings
from registry.atomic_files import replace_file

Trial = Mapping[str, Any]
"""`trial`, `eval_loss`, `eval_accuracy`, `seconds`, `parameters`, `augmentation`, and the tuned hyperparameters."""


def fixed_hyperparameters(settings: Settings) -> tuple[str, ...]:
    """Returns the hyperparameters that the user has set, which override the result of a search."""
    trainer, profile = settings.trainer, PROFILES[settings.profile].get("trainer", {})
    return tuple(sorted(key for key in trainer.model_fields_set if getattr(trainer, key) != profile.get(key)))


def tuned_hyperparameters(trial: Trial) -> dict[str, int | float]:
    """Returns the hyperparameters of a trial that are in the search."""
    return {key: value for key, value in trial.items() if key in Hyperparameters.model_fields}


def write_tuned(settings: Settings, trials: Sequence[Trial]) -> None:
    """Writes `settings.trials_file` and `settings.tuned_file`.

    Args:
        settings: Settings of the search.
        trials: The completed trials, best first; at least one.
    """
    best = trials[0]
    lines = [
        f"# Written by `digits tune`: the best of {len(trials)} trials, eval loss {best['eval_loss']:.4f}, accuracy "
        f"{100 * best['eval_accuracy']:.2f} %.",
        f"# `digits run --tuned` uses it. All trials: {settings.trials_file.name}",
        "[trainer]",
        *(f"{key} = {value}" for key, value in tuned_hyperparameters(best).items()),
    ]
    settings.tuning_directory.mkdir(parents=True, exist_ok=True)
    replace_file(settings.trials_file, json.dumps(trials, indent=2))
    replace_file(settings.tuned_file, "\n".join(lines) + "\n")


def read_trials(settings: Settings) -> tuple[Trial, ...]:
    """Returns the trials behind the hyperparameters of a run, best first; none if they are not tuned, or not known."""
    if not (settings.tuned and settings.trials_file.exists()):
        return ()
    return tuple(json.loads(settings.trials_file.read_text(encoding="utf-8")))
