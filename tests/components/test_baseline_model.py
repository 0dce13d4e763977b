from dataclasses import replace
from pathlib import Path

import pytest
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types.standard_artifacts import Model

from components.baseline_model import BaselineModel, Driver
from registry.provenance import GateRecord, Origin
from registry.publishing import publish, roll_back
from registry.signing import TrustPolicy, prepare_private_key, read_public_key
from registry.versions import list_versions
from tests.support.examples import DIGITS, make_examples, schema_text

ANY = TrustPolicy(allow_unverified=True)


def make_model(folder: Path, content: str) -> Model:
    """Creates a model artifact with a text as its SavedModel."""
    artifact = Model()
    artifact.uri = str(folder)
    directory = folder / "Format-Serving"
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_text(content)
    return artifact


def push(tmp_path: Path, content: str, schema: str = schema_text(DIGITS), accepted: tuple[str, ...] = ()) -> None:
    model = make_model(tmp_path / "pushed" / content, content)
    gate = GateRecord(gate="Evaluator", passed=True, accepted=accepted, metrics={})
    extra = {"assets.extra/schema.pbtxt": schema.encode()} if schema else {}
    publish(Path(model.uri) / "Format-Serving", tmp_path / "serving", extra, Origin(gates=(gate,)))


def baseline_of(tmp_path: Path, candidate: Model, public_key: str = "") -> tuple[str, str | None]:
    """Returns the identity by the driver and the model that the executor copies."""
    properties = {"serving_directory": str(tmp_path / "serving"), "public_key": public_key, "data_accepted": 0}
    examples = make_examples(tmp_path / "examples", DIGITS, {})
    inputs = {"candidate": [candidate], "examples": [examples]}
    info = ExecutionInfo(input_dict=inputs, exec_properties=properties)
    identity = Driver(None).run(info).exec_properties["baseline"].string_value
    output = Model()
    output.uri = str(tmp_path / "baseline")
    Path(output.uri).mkdir()
    BaselineModel.test_call(candidate=candidate, examples=examples, baseline_model=output, **properties)
    found = Path(output.uri) / "Format-Serving" / "saved_model.pb"
    version = output.get_string_custom_property("version")
    assert bool(identity) == bool(version) == found.exists()
    return identity, found.read_text() if found.exists() else None


@pytest.mark.parametrize(
    ("pushed", "candidate", "baseline"),
    [
        pytest.param([], "a", None, id="first run"),
        pytest.param(["a"], "a", None, id="first run repeated"),
        pytest.param(["a"], "b", "a", id="second model"),
        pytest.param(["a", "b"], "b", "a", id="second model repeated"),
        pytest.param(["a", "b"], "c", "b", id="third model"),
        pytest.param(["a", "b"], "a", "b", id="an older model returns"),
    ],
)
def test_the_baseline_is_the_newest_other_pushed_model(
    tmp_path: Path, pushed: list[str], candidate: str, baseline: str | None
) -> None:
    for content in pushed:
        push(tmp_path, content)
    assert baseline_of(tmp_path, make_model(tmp_path / "candidate", candidate))[1] == baseline


def test_after_a_rollback_the_served_model_is_the_baseline(tmp_path: Path) -> None:
    push(tmp_path, "a")
    push(tmp_path, "b")
    roll_back(tmp_path / "serving", None, ANY)
    assert baseline_of(tmp_path, make_model(tmp_path / "candidate", "c"))[1] == "a"


def test_the_cache_key_depends_on_the_model_not_on_its_version(tmp_path: Path) -> None:
    candidate = make_model(tmp_path / "candidate", "c")
    properties = {"serving_directory": str(tmp_path / "serving"), "public_key": "", "data_accepted": 0}
    inputs = {"candidate": [candidate], "examples": [make_examples(tmp_path / "examples", DIGITS, {})]}
    info = ExecutionInfo(input_dict=inputs, exec_properties=properties)

    def identity() -> str:
        return Driver(None).run(info).exec_properties["baseline"].string_value

    identities = [identity()]
    for content in ("a", "b"):
        push(tmp_path, content)
        identities.append(identity())
    roll_back(tmp_path / "serving", None, ANY)
    identities.append(identity())
    assert identities[0] == ""
    assert identities[3] == identities[1] != identities[2]


@pytest.mark.parametrize(
    ("accepted_model", "rolled_back", "candidate", "option", "accepted"),
    [
        pytest.param(None, False, "b", 0, 0, id="nobody has accepted anything"),
        pytest.param(None, False, "b", 1, 1, id="a person accepts the data now"),
        pytest.param("b", False, "b", 0, 1, id="the candidate was pushed when a person accepted its data"),
        pytest.param("b", False, "c", 0, 0, id="the acceptance is not for another model"),
        pytest.param("b", True, "b", 0, 0, id="a person has withdrawn the model"),
        pytest.param("b", True, "a", 0, 1, id="a person has rolled back to the model"),
        pytest.param("a", False, "a", 0, 0, id="another model is in production since"),
    ],
)
def test_an_acceptance_holds_for_the_model_that_was_pushed_with_it(
    accepted_model: str | None, rolled_back: bool, candidate: str, option: int, accepted: int, tmp_path: Path
) -> None:
    for content in ("a", "b"):
        push(tmp_path, content, accepted=("all: upside down",) if content == accepted_model else ())
    if rolled_back:
        roll_back(tmp_path / "serving", None, ANY)
    artifacts = {
        "candidate": make_model(tmp_path / "candidate", candidate),
        "examples": make_examples(tmp_path / "examples", DIGITS, {}),
    }
    properties = {"serving_directory": str(tmp_path / "serving"), "public_key": "", "data_accepted": option}
    inputs = {key: [artifact] for key, artifact in artifacts.items()}
    output = Driver(None).run(ExecutionInfo(input_dict=inputs, exec_properties=properties))
    assert output.exec_properties["data_accepted"].int_value == accepted
    found = Model()
    found.uri = str(tmp_path / "baseline")
    # Kubeflow does not call the driver.
    BaselineModel.test_call(**artifacts, baseline_model=found, **properties)
    assert found.get_int_custom_property("accepted") == accepted


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        pytest.param(
            schema_text(replace(DIGITS, classes=("0", "1"))), "its classes or image size differ", id="classes"
        ),
        pytest.param(schema_text(replace(DIGITS, width=32)), "its classes or image size differ", id="size"),
        pytest.param(schema_text(replace(DIGITS, channels=3)), "its classes or image size differ", id="channels"),
        pytest.param("", "it has no schema", id="earlier release"),
    ],
)
def test_a_version_of_another_contract_is_not_the_baseline(
    schema: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    push(tmp_path, "a")
    push(tmp_path, "b", schema)
    with caplog.at_level("INFO", logger="components.baseline_model"):
        assert baseline_of(tmp_path, make_model(tmp_path / "candidate", "c")) == ("", None)
    newest = list_versions(tmp_path / "serving")[-1].number
    assert caplog.messages == [f"version {newest} is not the baseline: {reason}"]


def test_a_changed_version_is_not_the_baseline(tmp_path: Path) -> None:
    push(tmp_path, "a")
    push(tmp_path, "b")
    newest = list_versions(tmp_path / "serving")[-1]
    (newest.directory / "saved_model.pb").write_text("changed")
    assert baseline_of(tmp_path, make_model(tmp_path / "candidate", "c"))[1] == "a"


def test_with_a_key_a_version_that_is_not_signed_is_not_the_baseline(tmp_path: Path) -> None:
    push(tmp_path, "a")
    key = prepare_private_key(tmp_path / "key.pem", None, is_development=True, say=print)
    candidate = make_model(tmp_path / "candidate", "c")
    assert baseline_of(tmp_path, candidate, read_public_key(key).decode()) == ("", None)
