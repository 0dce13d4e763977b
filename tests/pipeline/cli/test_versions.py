"""`digits versions`, `rollback`, `prune` and `label`."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import Result

from registry.labels import MODELS_CONFIG_FILE
from registry.provenance import PROVENANCE_FILE, SIGNATURE_FILE, DataOrigin, GateRecord, Ingredients, Origin
from registry.publishing import publish
from registry.signing import prepare_private_key
from registry.versions import TRAIN_STATISTICS_FILE, Version, list_versions

NOW = 1_800_000_000

Digits = Callable[..., Result]
Metrics = dict[str, dict[str, float]]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace; all versions are pushed in the same second, and labels move without a wait."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("registry.publishing.time.time", lambda: NOW)
    monkeypatch.setattr("registry.labels.time.sleep", lambda seconds: None)
    return tmp_path / "workspace"


def push(
    weights: str,
    model: str = "digits",
    metrics: Metrics | None = None,
    data: bytes = b"",
    *,
    enforced: bool = True,
    accepted: tuple[str, ...] = (),
) -> Version:
    source = Path("models", weights)
    source.mkdir(parents=True, exist_ok=True)
    (source / "saved_model.pb").write_text(f"{weights} {'0' * 1_500_000}")
    origin = Origin(
        ingredients=Ingredients(data=DataOrigin(uri="/data", span=3, fingerprint="ab"), code={}),
        gates=(
            GateRecord(gate="DataGate", passed=True, enforced=enforced, metrics={"accuracy": {"all": 0.5}}),
            GateRecord(
                gate="Evaluator",
                passed=True,
                accepted=accepted,
                metrics=metrics or {"accuracy": {"all": 0.995, "digit 1": 0.9}},
            ),
        ),
    )
    extra = {TRAIN_STATISTICS_FILE: data} if data else {}
    Path("workspace").mkdir(exist_ok=True)
    key = prepare_private_key(Path("workspace", "development-signing-key.pem"), None, is_development=True, say=print)
    return publish(source, Path("workspace", "serving", model).resolve(), extra, origin, key)


def numbers(model: str = "digits") -> list[int]:
    return [version.number for version in list_versions(Path("workspace", "serving", model))]


def labels(digits: Digits) -> dict[str, int]:
    return json.loads(digits("label", "--json").output)["labels"]


def test_versions_of_an_empty_workspace(digits: Digits, workspace: Path) -> None:
    result = digits("versions")
    assert (result.exit_code, result.output) == (0, f"No version has been pushed to {workspace / 'serving'} yet.\n")
    assert json.loads(digits("versions", "--json").output) == []
    assert not workspace.exists()


def test_versions_as_a_table(digits: Digits, table_rows: Callable[[str], list[list[str]]], workspace: Path) -> None:
    push("a", metrics={"accuracy": {"all": 0.9925}})
    push("b", metrics={"accuracy": {"digit 1": 0.9}, "recall": {"all": 0.8}})
    push("c", model="fashion")
    assert digits("rollback").exit_code == 0
    header, *found, folder, hint = table_rows(digits("versions").output)
    state = "development key"
    assert header == ["model", "version", "pushed", "size", "accuracy", "span", "state", "role"]
    assert [[*row[:2], *row[3:]] for row in found] == [
        ["digits", f"{NOW}", "1.5 MB", "99.25 %", "3", state],
        ["digits", f"{NOW + 1}", "1.5 MB", "3", state, "baseline"],
        ["digits", f"{NOW + 2}", "1.5 MB", "99.25 %", "3", state, f"current, rollback of {NOW}"],
        ["fashion", f"{NOW}", "1.5 MB", "99.50 %", "3", state, "current"],
    ]
    assert folder == [f"{workspace / 'serving'} (a server loads the current version of a model)"]
    assert hint == ["`digits lineage VERSION` shows where a version comes from."]


def test_versions_as_json(digits: Digits, workspace: Path) -> None:
    push("a")
    version = push("b")
    first, second = json.loads(digits("versions", "--json").output)
    assert second.pop("provenance") == json.loads((version.directory / PROVENANCE_FILE).read_text())
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
        "state": "development key",
        "problem": None,
    }
    assert (first["current"], first["baseline"]) == (False, True)


def drop(workspace: Path, number: int) -> Path:
    """Adds a SavedModel that no pipeline has pushed."""
    folder = workspace / "serving" / "digits" / str(number)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("dropped")
    return folder


def break_versions(workspace: Path) -> list[tuple[int, str, str]]:
    """Pushes a good version, and others that must not be used; returns their numbers, states and problems."""
    good, unsigned, changed, damaged = (push(weights) for weights in "abcd")
    (unsigned.directory / SIGNATURE_FILE).unlink()
    (changed.directory / "saved_model.pb").write_text("changed")
    (damaged.directory / PROVENANCE_FILE).write_text("{")
    dropped = drop(workspace, NOW + 9)
    return [
        (good.number, "development key", ""),
        (unsigned.number, "unsigned", f"{unsigned.directory}: is not signed; `digits run`, or a run on Kubeflow with"),
        (changed.number, "changed", f"{changed.directory / 'saved_model.pb'}: has changed since version {NOW + 2} was"),
        (damaged.number, "changed", f"{damaged.directory / PROVENANCE_FILE}: not the provenance of a version"),
        (NOW + 9, "no provenance", f"{dropped}: has no provenance, so no pipeline has pushed it"),
    ]


def test_a_gate_that_was_switched_off_is_named(digits: Digits, workspace: Path) -> None:
    push("a")
    push("b", enforced=False)
    lines = [line for line in digits("versions").output.splitlines() if "switched off" in line]
    assert lines == [f"digits {NOW + 1}: pushed with DataGate switched off."]


def test_what_a_person_has_accepted_is_named(digits: Digits, workspace: Path) -> None:
    push("a", accepted=("all: upside down",))
    assert f"digits {NOW}: a person accepted: all: upside down." in digits("versions").output.splitlines()


def test_versions_that_must_not_be_used_are_named_and_not_current(
    digits: Digits, table_rows: Callable[[str], list[list[str]]], workspace: Path
) -> None:
    expected = break_versions(workspace)
    shown = digits("versions").output
    rows = table_rows(shown)[1:6]
    assert [row[1] for row in rows if "current" in row] == [str(NOW)]
    for row, (number, state, problem) in zip(rows, expected, strict=True):
        assert (row[1], state in row) == (str(number), True)
        assert f"digits {number}: {problem}" in shown or not problem
    values = json.loads(digits("versions", "--json").output)
    assert [(each["version"], each["state"]) for each in values] == [(number, state) for number, state, _ in expected]
    assert [each["version"] for each in values if each["current"]] == [NOW]
    assert [each["provenance"] for each in values[3:]] == [None, None]


def test_a_setting_allows_versions_that_are_not_verified(
    digits: Digits, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_versions(workspace)
    monkeypatch.setenv("DIGITS_SIGNING__ALLOW_UNVERIFIED", "true")
    values = json.loads(digits("versions", "--json").output)
    assert [each["version"] for each in values if each["current"]] == [NOW + 9]
    assert digits("label", "stable", NOW + 9).exit_code == 0
    assert digits("verify").exit_code == 1, "verify says what is wrong all the same"


def test_verify_names_each_version_and_what_was_checked(digits: Digits, workspace: Path) -> None:
    expected = break_versions(workspace)
    result = digits("verify")
    assert result.exit_code == 1
    key = workspace / "development-signing-key.pem"
    assert result.stdout == (
        f"digits {NOW}: development key: all files are as pushed, and the signature matches the key {key}\n"
    )
    for (number, state, problem), line in zip(expected[1:], result.stderr.splitlines(), strict=True):
        assert line.startswith(f"digits {number}: {state}: {problem}")
    assert digits("verify", NOW).exit_code == 0
    assert digits("verify", NOW + 1).exit_code == 1
    values = json.loads(digits("verify", NOW + 1, "--json").stdout)
    assert [(each["version"], each["state"]) for each in values] == [(NOW + 1, "unsigned")]
    # Only the newest is served, then only those with labels.
    assert digits("verify", "--served").exit_code == 1
    digits("label", "stable", NOW)
    assert digits("verify", "--served").exit_code == 0
    # TF Serving loads all models in the file.
    other = push("f", model="fashion")
    digits("label", "stable", "--model", "fashion")
    (other.directory / "saved_model.pb").write_text("changed")
    assert digits("verify", "--served").exit_code == 1


def test_verify_without_a_key_checks_the_hashes(digits: Digits, workspace: Path) -> None:
    push("a")
    (workspace / "development-signing-key.pem").unlink()
    assert "development-signing-key.pub" in digits("verify").stdout, "where models are served, there is no other half"
    (workspace / "development-signing-key.pub").unlink()
    result = digits("verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "not checked: all files are as pushed, and the signature was not checked without a key" in result.stdout


def test_a_version_signed_with_another_key_is_refused(digits: Digits, workspace: Path, tmp_path: Path) -> None:
    push("a")
    prepare_private_key(tmp_path / "production.pem", None, is_development=True, say=print)
    Path("digits.toml").write_text('signing.public_key = "production.pub"\n')
    result = digits("verify")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"digits {NOW}: other key: " in result.stderr
    assert f"is not signed with the key of {tmp_path / 'production.pub'}; if you trust its signer" in result.stderr


def test_labels_and_rollbacks_use_verified_versions_only(digits: Digits, workspace: Path) -> None:
    break_versions(workspace)
    for command in (("label", "stable", NOW + 1), ("rollback", NOW + 1)):
        result = digits(*command)
        assert result.exit_code == 1
        assert f"Error: {workspace / 'serving' / 'digits' / str(NOW + 1)}: is not signed" in result.stderr
    assert digits("label", "stable").exit_code == 0
    assert labels(digits) == {"stable": NOW}
    assert f"version {NOW + 10} is now current, a copy of {NOW}." in digits("rollback").output
    assert digits("verify", NOW + 10).exit_code == 0


def test_rollback_to_another_model(digits: Digits) -> None:
    for weights in "aabb":
        push(weights)
    assert digits("rollback").output.splitlines() == [
        f"digits: version {NOW + 4} is now current, a copy of {NOW + 1}.",
        f"It replaces version {NOW + 3}, which is kept.",
    ]
    assert numbers() == [NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4]


def test_rollback_of_a_named_model_as_json(digits: Digits, workspace: Path) -> None:
    for weights in "abc":
        push(weights, model="fashion")
    values = json.loads(digits("rollback", NOW, "--model", "fashion", "--workspace", workspace, "--json").output)
    assert (values["model"], values["version"]) == ("fashion", NOW + 3)
    assert (values["rolled_back_to"], values["replaced"]) == (NOW, NOW + 2)
    assert values["directory"] == str(workspace / "serving" / "fashion" / str(NOW + 3))
    assert numbers("digits") == []


def test_the_name_in_the_settings_is_the_default_model(digits: Digits, tmp_path: Path) -> None:
    push("a", model="fashion")
    push("b", model="fashion")
    Path("digits.toml").write_text('name = "fashion"\n')
    assert digits("rollback").exit_code == 0
    Path("digits.toml").rename(tmp_path / "other.toml")
    assert digits("prune", "--keep", "1", "--config", tmp_path / "other.toml").exit_code == 0
    assert numbers("fashion") == [NOW + 1, NOW + 2]


@pytest.mark.parametrize(
    ("pushes", "keep", "lines", "kept"),
    [
        pytest.param(
            [("a", b""), ("b", b""), ("b", b""), ("b", b"")],
            2,
            [
                f"removed digits {NOW + 1}",
                f"kept digits {NOW}: baseline",
                f"kept digits {NOW + 2}: one of the newest 2",
                f"kept digits {NOW + 3}: current",
            ],
            [NOW, NOW + 2, NOW + 3],
            id="newest and baseline",
        ),
        pytest.param(
            [("a", b"x"), ("b", b"y"), ("c", b"y"), ("d", b"y")],
            1,
            [
                f"removed digits {NOW + 1}",
                f"kept digits {NOW}: DataGate may compare with its data",
                f"kept digits {NOW + 2}: baseline",
                f"kept digits {NOW + 3}: current",
            ],
            [NOW, NOW + 2, NOW + 3],
            id="data of the baseline",
        ),
    ],
)
def test_prune(
    digits: Digits, pushes: Sequence[tuple[str, bytes]], keep: int, lines: list[str], kept: list[int]
) -> None:
    for weights, data in pushes:
        push(weights, data=data)
    push("e", model="fashion")
    assert digits("prune", "--keep", keep).output.splitlines() == lines
    assert (numbers(), numbers("fashion")) == (kept, [NOW])


def test_prune_dry_run_removes_nothing(digits: Digits) -> None:
    for weights in "abc":
        push(weights)
    assert digits("prune", "--keep", "1", "--dry-run").output.splitlines() == [
        f"would remove digits {NOW}",
        f"would keep digits {NOW + 1}: baseline",
        f"would keep digits {NOW + 2}: current",
    ]
    values = json.loads(digits("prune", "--keep", "1", "--dry-run", "--json").output)
    assert values["dry_run"] is True
    assert [version["version"] for version in values["removed"]] == [NOW]
    assert [(each["version"], each["baseline"]) for each in values["kept"]] == [(NOW + 1, True), (NOW + 2, False)]
    assert numbers() == [NOW, NOW + 1, NOW + 2]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("rollback", 17), 2, f"Error: 17: no such version of digits; there are {NOW + 1}, {NOW}."),
        (("rollback", NOW + 1), 2, f"Error: {NOW + 1}: this is already the newest version of digits."),
        (("rollback", "newest"), 2, "'newest' is not a valid integer"),
        (("rollback", "--model", "mnist"), 2, "Invalid value for --model: 'mnist' is not in "),
        (("rollback", "--model", "mnist"), 2, "; there is only digits."),
        (("prune", "--keep", 1, "--model", "../serving/digits"), 2, "'../serving/digits' is not in "),
        (("prune", "--keep", 0), 2, "0 is not in the range x>=1"),
        (("prune",), 2, "Missing option '--keep'"),
        (("versions", "--config", "absent.toml"), 2, "Error: absent.toml: cannot be read"),
        (("label", "stable", 17), 2, f"17: no such version of digits; there are {NOW + 1}, {NOW}."),
        (("verify", 17), 2, f"17: no such version of digits; there are {NOW + 1}, {NOW}."),
        (("verify", NOW, "--served"), 2, f"Give either --served or the version {NOW}, not both."),
        (("label", "stable", "--remove", "canary"), 2, "Give either --remove canary or the label stable, not both."),
        (("label", "--remove", "canary"), 1, "Error: canary: there is no such label; the labels are: none."),
        (("label", "sta/ble"), 1, "Error: 'sta/ble': a label is part of a URL"),
        (("label", "stable", "--model", "mnist"), 2, "Invalid value for --model: 'mnist' is not in "),
    ],
)
def test_wrong_use_changes_nothing(
    digits: Digits, workspace: Path, arguments: tuple[object, ...], exit_code: int, message: str
) -> None:
    for weights in "ab":
        push(weights)
    result = digits(*arguments)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr
    assert numbers() == [NOW, NOW + 1]
    assert not (workspace / "serving" / MODELS_CONFIG_FILE).exists()


@pytest.mark.parametrize("command", [("rollback",), ("prune", "--keep", "1")])
def test_nothing_has_been_pushed(digits: Digits, command: tuple[str, ...], workspace: Path) -> None:
    result = digits(*command)
    assert result.exit_code == 1
    directory = workspace / "serving" / "digits"
    assert (
        result.stderr
        == f"Error: {directory}: no version of digits has been pushed there yet; push one with `digits run`.\n"
    )
    assert not workspace.exists()
    unknown = digits(*command, "--model", "mnist")
    assert unknown.exit_code == 2
    assert "no model has been pushed there yet" in unknown.stderr


def test_rollback_refuses_a_damaged_version(digits: Digits) -> None:
    damaged = push("a")
    push("b")
    (damaged.directory / "saved_model.pb").write_text("rotten")
    result = digits("rollback")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {damaged.directory / 'saved_model.pb'}: has changed since version {NOW}")
    assert numbers() == [NOW, NOW + 1]


def test_without_labels_the_newest_is_served(digits: Digits, workspace: Path) -> None:
    push("a")
    assert digits("label").output == f"digits has no labels: its newest version, {NOW}, is served.\n"
    assert not (workspace / "serving" / MODELS_CONFIG_FILE).exists()


def test_labels_from_canary_to_stable_and_back(
    digits: Digits, table_rows: Callable[[str], list[list[str]]], workspace: Path
) -> None:
    for weights in "abc":
        push(weights)
    assert digits("label", "stable", NOW).exit_code == 0
    header, *rows, last = table_rows(digits("label", "canary").output)
    assert header == ["label", "version", "pushed"]
    assert [row[:2] for row in rows] == [["canary", f"{NOW + 2}"], ["stable", f"{NOW}"]]
    assert last == [f"TF Serving loads {NOW}, {NOW + 2}; requests without a label go to {NOW + 2}."]
    digits("label", "stable", NOW + 2)
    assert labels(digits) == {"canary": NOW + 2, "stable": NOW + 2}
    os.utime(workspace / "serving" / MODELS_CONFIG_FILE, (NOW, NOW))
    back = digits("label", "stable", NOW, "--json")
    assert f"stable moves to {NOW} in 10 s, when all servers have loaded it." in back.stderr
    assert json.loads(back.stdout) == {
        "model": "digits",
        "labels": {"canary": NOW + 2, "stable": NOW},
        "loaded": [NOW, NOW + 2],
    }
    assert digits("label", "--remove", "canary").exit_code == 0
    assert labels(digits) == {"stable": NOW}


def test_prune_refuses_to_remove_a_labeled_version(digits: Digits) -> None:
    for weights in "abc":
        push(weights)
    digits("label", "stable", NOW)
    for command in (("prune", "--keep", 1), ("prune", "--keep", 2, "--dry-run")):
        refused = digits(*command)
        assert refused.exit_code == 2
        assert f"this would remove version {NOW}, which has the label stable; expected 3 or more" in refused.stderr
    assert numbers() == [NOW, NOW + 1, NOW + 2]
    digits("label", "stable", NOW + 2)
    assert digits("prune", "--keep", 1).exit_code == 0
    assert numbers() == [NOW + 1, NOW + 2]


def test_rollback_points_to_labels(digits: Digits) -> None:
    push("a")
    push("b")
    digits("label", "stable", NOW)
    assert f"run `digits label LABEL {NOW + 2}` to serve it." in digits("rollback").output
    assert json.loads(digits("rollback", "--json").output)["labels"] == {"stable": NOW}


def test_commands_refuse_a_damaged_label_file(digits: Digits, workspace: Path) -> None:
    push("a")
    push("b")
    (workspace / "serving" / MODELS_CONFIG_FILE).write_text("{")
    for command in (("label",), ("label", "stable"), ("rollback",), ("prune", "--keep", 1)):
        result = digits(*command)
        assert result.exit_code == 1
        assert f"Error: {workspace / 'serving' / MODELS_CONFIG_FILE}: not a ModelServerConfig" in result.stderr
    assert numbers() == [NOW, NOW + 1]
