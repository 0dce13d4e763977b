"""`digits tune` up to the search and after it. A whole search is in tests/e2e."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from components.trainer.hyperparameters import Search
from pipeline.local.metadata import Run
from pipeline.local.runner import RunResult
from pipeline.settings.settings import Settings

Digits = Callable[..., Result]

TRIAL = {"trial": 1, "eval_loss": 0.01, "eval_accuracy": 0.99, "seconds": 2.0, "width": 48, "depth": 3}
RUN = Run("now", "digits", datetime(2026, 1, 2), 1.0, (), "tuned", None, None)
TUNED = RunResult(RUN, {}, None, None, trials=(TRIAL,))


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Settings, Search]]:
    """The searches that were started; each ends with `TRIAL`."""
    monkeypatch.chdir(tmp_path)
    started = []

    def run_and_show(settings: Settings, terminal: Any, search: Search) -> RunResult:
        started.append((settings, search))
        refused = settings.profile == "smoke"
        return replace(TUNED, run=replace(RUN, outcome="refused"), trials=()) if refused else TUNED

    monkeypatch.setattr("pipeline.cli.tune.run_and_show", run_and_show)
    return started


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"max_trials": 20, "max_seconds": None, "parallel": None, "max_images": None, "fixed": ()}),
        (("--parallel", 3), {"parallel": 3}),
        (("--trials", 3, "--max-images", 100), {"max_trials": 3, "max_images": 100}),
        (("--minutes", 1.5), {"max_trials": 10_000, "max_seconds": 90.0}),
        (("--minutes", 1, "--trials", 7), {"max_trials": 7, "max_seconds": 60.0}),
        (("--set", "trainer.depth=3"), {"fixed": ("depth",)}),
    ],
)
def test_options(
    digits: Digits, searches: list[tuple[Settings, Search]], options: tuple[object, ...], expected: dict[str, Any]
) -> None:
    assert digits("tune", *options).exit_code == 0
    [(settings, search)] = searches
    assert search.folder == str(settings.workspace / "tuning" / "digits")
    assert {name: getattr(search, name) for name in expected} == expected


def test_a_search_starts_from_the_profile(digits: Digits, searches: list[tuple[Settings, Search]]) -> None:
    Path("digits.toml").write_text("tuned = true\n")
    assert digits("tune", "--profile", "fast", "--epochs", 1).exit_code == 0
    [(settings, _)] = searches
    assert (settings.tuned, settings.trainer.learning_rate, settings.trainer.epochs) == (False, 0.015, 1)


def test_the_result_says_how_to_use_it(digits: Digits, searches: list[tuple[Settings, Search]], tmp_path: Path) -> None:
    result = digits("tune", "--set", "trainer.depth=3")
    file = tmp_path / "workspace" / "tuning" / "digits.toml"
    assert result.output == (
        f"Not searched   depth: set in your settings\nBest           {file}; use it with `digits run --tuned`\n"
    )
    values = json.loads(digits("tune", "--json").stdout)
    assert values["best"] == {"width": 48, "depth": 3}
    assert (values["file"], values["trials"], values["outcome"]) == (str(file), [TRIAL], "tuned")


def test_refused_data_exits_with_3(digits: Digits, searches: list[tuple[Settings, Search]]) -> None:
    result = digits("tune", "--profile", "smoke", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["best"] == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trials", 0), "'--trials': 0 is not in the range x>=1"),
        (("--minutes", 0), "'--minutes': 0.0 is not in the range x>0"),
        (("--parallel", 0), "'--parallel': 0 is not in the range x>=1"),
        (("--epochs", "many"), "'many' is not a valid integer range"),
        (("--set", "trainer.width=1"), "Error: trainer.width: Input should be greater than or equal to 2"),
    ],
)
def test_wrong_use_exits_with_2(
    digits: Digits, searches: list[tuple[Settings, Search]], options: tuple[object, ...], message: str
) -> None:
    result = digits("tune", *options)
    assert (result.exit_code, searches) == (2, [])
    assert message in result.stderr


@pytest.mark.parametrize("command", [("run",), ("compile",), ("deploy", "--host", "http://localhost")])
def test_tuned_without_a_search_exits_with_2(
    digits: Digits, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = digits(*command, "--tuned")
    assert result.exit_code == 2
    file = tmp_path / "workspace" / "tuning" / "digits.toml"
    assert result.stderr == f"Error: {file}: there are no tuned hyperparameters; run `digits tune` first.\n"
