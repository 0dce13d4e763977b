"""`digits versions`, `rollback` and `prune`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from registry.provenance import PROVENANCE_FILE, DataOrigin, GateRecord, Ingredients, Origin
from registry.publishing import publish
from registry.versions import TRAIN_STATISTICS_FILE, Version, list_versions

NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new one, in which all versions are pushed in one second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("registry.publishing.time.time", lambda: NOW)
    return tmp_path / "workspace"


def push(weights: str, model: str = "digits", accuracy: float = 0.995, data: bytes = b"") -> Version:
    source = Path("models", weights)
    source.mkdir(parents=True, exist_ok=True)
    (source / "saved_model.pb").write_text(f"{weights} {'0' * 1_500_000}")
    origin = Origin(
        ingredients=Ingredients(data=DataOrigin(uri="/data", span=3, fingerprint="ab"), code={}),
        gates=(
            GateRecord(gate="DataGate", passed=True, metrics={"accuracy": {"all": 0.5}}),
            GateRecord(gate="Evaluator", passed=True, metrics={"accuracy": {"all": accuracy, "digit 1": 0.9}}),
        ),
    )
    extra = {TRAIN_STATISTICS_FILE: data} if data else {}
    return publish(source, Path("workspace", "serving", model).resolve(), extra, origin)


def digits(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def rows(table: str) -> list[list[str]]:
    """The cells of each line of a table, without rules and empty lines."""
    lines = [line.strip() for line in table.splitlines()]
    return [re.split(r" {2,}", line) for line in lines if line and not set(line) <= {" ", "─"}]


def numbers(model: str = "digits") -> list[int]:
    return [version.number for version in list_versions(Path("workspace", "serving", model))]


def test_versions_of_an_empty_workspace(workspace: Path) -> None:
    result = digits("versions")
    assert (result.exit_code, result.output) == (0, f"No version has been pushed to {workspace / 'serving'} yet.\n")
    assert json.loads(digits("versions", "--json").output) == []
    assert not workspace.exists()


def test_versions_say_what_they_are(workspace: Path) -> None:
    push("a", accuracy=0.9925)
    push("b", accuracy=0.9875)
    push("c", model="fashion")
    assert digits("rollback").exit_code == 0
    header, *found, last = rows(digits("versions").output)
    assert header == ["model", "version", "pushed", "size", "accuracy", "span", "role"]
    assert [[*row[:2], *row[3:]] for row in found] == [
        ["digits", f"{NOW}", "1.5 MB", "99.25 %", "3"],
        ["digits", f"{NOW + 1}", "1.5 MB", "98.75 %", "3", "baseline"],
        ["digits", f"{NOW + 2}", "1.5 MB", "99.25 %", "3", f"current, rollback of {NOW}"],
        ["fashion", f"{NOW}", "1.5 MB", "99.50 %", "3", "current"],
    ]
    assert last == [f"{workspace / 'serving'} (a server loads the current version of a model)"]


def test_versions_as_json(workspace: Path) -> None:
    push("a")
    version = push("b")
    first, second = json.loads(digits("versions", "--json").output)
    assert second["provenance"] == json.loads((version.directory / PROVENANCE_FILE).read_text())
    assert second["provenance"]["origin"]["ingredients"]["data"]["uri"] == "/data"
    del second["provenance"]
    assert second == {
        "model": "digits",
        "version": NOW + 1,
        "pushed": version.pushed.isoformat(),
        "bytes": version.num_bytes,
        "directory": str(workspace / "serving" / "digits" / str(NOW + 1)),
        "test_accuracy": 0.995,
        "span": 3,
        "current": True,
        "baseline": False,
        "rolled_back_to": None,
        "damage": None,
    }
    assert (first["current"], first["baseline"]) == (False, True)


def test_versions_of_which_little_is_known(workspace: Path) -> None:
    for name in ("16", "17"):
        (workspace / "serving" / "digits" / name).mkdir(parents=True)
        (workspace / "serving" / "digits" / name / "saved_model.pb").write_text(name)
    damaged = push("a")
    (damaged.directory / PROVENANCE_FILE).write_text("{")
    table = rows(digits("versions").output)
    assert [[row[1], *row[4:]] for row in table[1:4]] == [
        ["16"],
        ["17", "baseline"],
        [str(damaged.number), "current, damaged provenance"],
    ]
    values: Any = json.loads(digits("versions", "--json").output)
    assert [value["provenance"] for value in values] == [None] * 3
    assert [value["test_accuracy"] for value in values] == [None] * 3
    assert values[2]["damage"].startswith(f"{damaged.directory / PROVENANCE_FILE}: not the provenance")


def test_rollback() -> None:
    for weights in "aabb":
        push(weights)
    result = digits("rollback")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"digits: version {NOW + 4} is now current, a copy of {NOW + 1}.",
        f"It takes the place of version {NOW + 3}, which stays where it is.",
    ]
    assert numbers() == [NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4]


def test_rollback_to_a_version_of_a_model_as_json(workspace: Path) -> None:
    for weights in "abc":
        push(weights, model="fashion")
    result = digits("rollback", str(NOW), "--model", "fashion", "--workspace", workspace, "--json")
    values = json.loads(result.output)
    assert (values["model"], values["version"]) == ("fashion", NOW + 3)
    assert (values["rolled_back_to"], values["replaced"]) == (NOW, NOW + 2)
    assert values["directory"] == str(workspace / "serving" / "fashion" / str(NOW + 3))
    assert numbers("digits") == []


def test_the_name_in_the_settings_is_the_default_model(tmp_path: Path) -> None:
    push("a", model="fashion")
    push("b", model="fashion")
    Path("digits.toml").write_text('name = "fashion"\n')
    assert digits("rollback").exit_code == 0
    Path("digits.toml").rename(tmp_path / "other.toml")
    assert digits("prune", "--keep", "1", "--config", tmp_path / "other.toml").exit_code == 0
    assert numbers("fashion") == [NOW + 1, NOW + 2]


def test_prune() -> None:
    for weights in "abbb":
        push(weights)
    push("c", model="fashion")
    result = digits("prune", "--keep", "2")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"removed digits {NOW + 1}",
        f"kept digits {NOW}: baseline",
        f"kept digits {NOW + 2}: one of the newest 2",
        f"kept digits {NOW + 3}: current",
    ]
    assert numbers() == [NOW, NOW + 2, NOW + 3]
    assert numbers("fashion") == [NOW]


def test_prune_says_what_it_keeps_for_its_data() -> None:
    for weights, data in zip("abcd", (b"x", b"y", b"y", b"y"), strict=True):
        push(weights, data=data)
    assert digits("prune", "--keep", "1").output.splitlines() == [
        f"removed digits {NOW + 1}",
        f"kept digits {NOW}: DataGate may compare with its data",
        f"kept digits {NOW + 2}: baseline",
        f"kept digits {NOW + 3}: current",
    ]


def test_prune_without_doing_it() -> None:
    for weights in "abc":
        push(weights)
    result = digits("prune", "--keep", "1", "--dry-run")
    assert result.output.splitlines() == [
        f"would remove digits {NOW}",
        f"would keep digits {NOW + 1}: baseline",
        f"would keep digits {NOW + 2}: current",
    ]
    values = json.loads(digits("prune", "--keep", "1", "--dry-run", "--json").output)
    assert values["dry_run"] is True
    assert [version["version"] for version in values["removed"]] == [NOW]
    assert [(version["version"], version["baseline"]) for version in values["kept"]] == [
        (NOW + 1, True),
        (NOW + 2, False),
    ]
    assert numbers() == [NOW, NOW + 1, NOW + 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rollback", "17"), f"Error: 17: no such version of digits; there are {NOW}, {NOW + 1}."),
        (("rollback", str(NOW + 1)), f"Error: {NOW + 1}: this is already the current version of digits."),
        (("rollback", "newest"), "'newest' is not a valid integer"),
        (("rollback", "--model", "mnist"), "Invalid value for --model: 'mnist' is not in "),
        (("rollback", "--model", "mnist"), "; there are digits."),
        (("prune", "--keep", "1", "--model", "../serving/digits"), "'../serving/digits' is not in "),
        (("prune", "--keep", "0"), "0 is not in the range x>=1"),
        (("prune",), "Missing option '--keep'"),
        (("versions", "--config", "absent.toml"), "Error: absent.toml: cannot be read"),
    ],
)
def test_wrong_use_exits_with_2_and_changes_nothing(arguments: tuple[str, ...], message: str) -> None:
    for weights in "ab":
        push(weights)
    result = digits(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert numbers() == [NOW, NOW + 1]


@pytest.mark.parametrize("command", [("rollback",), ("prune", "--keep", "1")])
def test_nothing_pushed_yet(command: tuple[str, ...], workspace: Path) -> None:
    result = digits(*command)
    assert result.exit_code == 1
    directory = workspace / "serving" / "digits"
    assert result.stderr == f"Error: {directory}: no version of digits has been pushed there yet.\n"
    assert not workspace.exists()
    unknown = digits(*command, "--model", "mnist")
    assert unknown.exit_code == 2
    assert "no model has been pushed there yet" in unknown.stderr


def test_a_damaged_version_is_not_rolled_back_to() -> None:
    damaged = push("a")
    push("b")
    (damaged.directory / "saved_model.pb").write_text("rotten")
    result = digits("rollback")
    assert result.exit_code == 1
    message = (
        "has changed since version 1800000000 was pushed; roll back to one that is not damaged, or restore the file."
    )
    assert result.stderr == f"Error: {damaged.directory / 'saved_model.pb'}: {message}\n"
    assert numbers() == [NOW, NOW + 1]
