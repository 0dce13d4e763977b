"""`digits label`, and what `digits prune` and `digits rollback` make of labels."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from registry.labels import MODELS_CONFIG_FILE
from registry.provenance import Origin
from registry.publishing import publish
from registry.versions import list_versions

NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With versions NOW, NOW + 1 and NOW + 2 of `digits`, in which nobody has to wait."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("registry.publishing.time.time", lambda: NOW)
    monkeypatch.setattr("registry.labels.time.sleep", lambda seconds: None)
    for weights in ("a", "b", "c"):
        source = tmp_path / weights
        source.mkdir()
        (source / "saved_model.pb").write_text(weights)
        publish(source, tmp_path / "workspace" / "serving" / "digits", {}, Origin())
    return tmp_path / "workspace"


def digits(*arguments: str | int) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def labels() -> dict[str, int]:
    return json.loads(digits("label", "--json").output)["labels"]


def test_without_labels_the_newest_is_served(workspace: Path) -> None:
    assert digits("label").output == f"digits has no labels: its newest version, {NOW + 2}, is served.\n"
    assert not (workspace / "serving" / MODELS_CONFIG_FILE).exists()


def test_from_canary_to_stable_and_back(workspace: Path) -> None:
    assert digits("label", "stable", NOW).exit_code == 0
    shown = digits("label", "canary")
    assert shown.exit_code == 0
    assert [line.split()[:2] for line in shown.output.splitlines() if str(NOW)[:6] in line] == [
        ["canary", f"{NOW + 2}"],
        ["stable", f"{NOW}"],
        ["TF", "Serving"],
    ]
    assert f"TF Serving loads {NOW}, {NOW + 2}; a request without a label is answered by {NOW + 2}." in shown.output
    digits("label", "stable", NOW + 2)
    assert labels() == {"canary": NOW + 2, "stable": NOW + 2}
    os.utime(workspace / "serving" / MODELS_CONFIG_FILE, (NOW, NOW))
    back = digits("label", "stable", NOW, "--json")
    assert f"stable moves to {NOW} in 10 s, when every server has read what to load." in back.stderr
    assert json.loads(back.stdout) == {
        "model": "digits",
        "labels": {"canary": NOW + 2, "stable": NOW},
        "loaded": [NOW, NOW + 2],
    }
    assert digits("label", "--remove", "canary").exit_code == 0
    assert labels() == {"stable": NOW}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("stable", 17), 2, f"17: no such version of digits; there are {NOW}, {NOW + 1}, {NOW + 2}."),
        (("stable", "--remove", "canary"), 2, "Give either --remove canary or the label stable, not both."),
        (("--remove", "canary"), 1, "Error: canary: there is no such label; the labels are: none."),
        (("sta/ble",), 1, "Error: 'sta/ble': a label is part of a URL"),
        (
            ("stable", "--model", "mnist"),
            1,
            "serving/mnist: no version of mnist has been pushed there yet; there are versions of digits.",
        ),
    ],
)
def test_what_cannot_be(arguments: tuple[str | int, ...], exit_code: int, message: str, workspace: Path) -> None:
    result = digits("label", *arguments)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr
    assert not (workspace / "serving" / MODELS_CONFIG_FILE).exists()


def test_a_labelled_version_is_not_pruned(workspace: Path) -> None:
    digits("label", "stable", NOW)
    for command in (("prune", "--keep", 1), ("prune", "--keep", 2, "--dry-run")):
        refused = digits(*command)
        assert refused.exit_code == 2
        assert f"this would remove version {NOW}, which has the label stable; expected 3 or more" in refused.stderr
    assert len(list_versions(workspace / "serving" / "digits")) == 3
    digits("label", "stable", NOW + 2)
    assert digits("prune", "--keep", 1).exit_code == 0
    assert [version.number for version in list_versions(workspace / "serving" / "digits")] == [NOW + 1, NOW + 2]


def test_a_rollback_says_that_labels_decide() -> None:
    assert "label" not in digits("rollback").output
    digits("label", "stable", NOW)
    assert f"give it one, `digits label LABEL {NOW + 4}`." in digits("rollback").output
    assert json.loads(digits("rollback", "--json").output)["labels"] == {"stable": NOW}


def test_a_damaged_file_is_named_before_anything_is_done(workspace: Path) -> None:
    (workspace / "serving" / MODELS_CONFIG_FILE).write_text("{")
    for command in (("label",), ("label", "stable"), ("rollback",), ("prune", "--keep", 1)):
        result = digits(*command)
        assert result.exit_code == 1
        assert f"Error: {workspace / 'serving' / MODELS_CONFIG_FILE}: not a ModelServerConfig" in result.stderr
    assert len(list_versions(workspace / "serving" / "digits")) == 3
