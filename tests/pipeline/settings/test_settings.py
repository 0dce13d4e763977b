import re
import sys
from pathlib import Path

import pytest

from components.features import Contract
from pipeline.settings.settings import (
    Settings,
    SettingsError,
    load_contract,
    load_settings,
    parse_assignments,
)
from registry.errors import UsageError
from registry.signing import TrustPolicy


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.profile == "default"
    assert Path(settings.data.uri).name == "mnist.npz"
    assert settings.workspace == tmp_path / "workspace"
    assert settings.pipeline_root == tmp_path / "workspace" / "pipeline_root"
    assert settings.metadata_file == tmp_path / "workspace" / "metadata.sqlite"
    assert settings.serving_directory == tmp_path / "workspace" / "serving" / "digits"
    assert settings.log_directory == tmp_path / "workspace" / "logs"
    assert settings.report_directory == tmp_path / "workspace" / "reports"


def test_later_sources_override_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().trainer.batch_size == 128
    assert load_settings({"profile": "smoke"}).trainer.batch_size == 64
    (tmp_path / "digits.toml").write_text('profile = "smoke"\n[trainer]\nbatch_size = 32\n')
    assert load_settings().trainer.batch_size == 32
    monkeypatch.setenv("DIGITS_TRAINER__BATCH_SIZE", "16")
    assert load_settings().trainer.batch_size == 16
    settings = load_settings(parse_assignments(("trainer.batch_size=8",)))
    assert settings.trainer.batch_size == 8
    assert settings.trainer.epochs == 4, (
        "a value that no stronger source sets comes from the profile that the file chooses"
    )


def test_tuned_hyperparameters_override_only_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = tmp_path / "workspace" / "tuning" / "digits-smoke.toml"
    smoke = {"profile": "smoke", "tuned": "true"}
    with pytest.raises(
        SettingsError, match=r"digits-smoke\.toml: there are no tuned hyperparameters; run `digits tune`"
    ):
        load_settings(smoke)
    tuned.parent.mkdir(parents=True)
    tuned.write_text("[trainer]\nwidth = 32\nbatch_size = 2\ndepth = 3\nrotation = 5\n")
    (tmp_path / "digits.toml").write_text("[trainer]\ndepth = 1\n")
    monkeypatch.setenv("DIGITS_TRAINER__ROTATION", "6")
    trainer = load_settings(smoke).trainer
    assert (trainer.batch_size, trainer.width, trainer.depth, trainer.rotation, trainer.epochs) == (2, 32, 1, 6, 4)
    assert load_settings({**smoke, "trainer": {"width": "16"}}).trainer.width == 16
    assert load_settings({**smoke, "tuned": "false"}).trainer.width == 64
    tuned.write_text("[trainer]\nwidth = 1\n")
    with pytest.raises(SettingsError, match=r"trainer\.width: Input should be greater than or equal to 2, not 1"):
        load_settings(smoke)


def test_a_file_with_another_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[data]\nseed = 5\n")
    assert load_settings(file=tmp_path / "mine.toml").data.seed == 5
    assert load_settings().data.seed == 0


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "schema.pbtxt").touch()
    file = folder / "digits.toml"
    file.write_text('[data]\nschema_file = "schema.pbtxt"\nuri = "../images-{SPAN}"\n')
    settings = load_settings(file=Path("letters/digits.toml"))
    assert settings.data.schema_file == folder / "schema.pbtxt"
    assert settings.data.uri == str(tmp_path / "images-{SPAN}")
    assert load_settings({"data": {"uri": "images"}}, file).data.uri == "images", "the command line is not the file"


@pytest.mark.parametrize("uri", ["s3://bucket/images", "/data/images", "https://example.com/mnist.npz"])
def test_other_uris_stay_as_they_are(tmp_path: Path, uri: str) -> None:
    (tmp_path / "digits.toml").write_text(f'[data]\nuri = "{uri}"\n')
    assert load_settings().data.uri == uri


def test_the_smoke_profile_keeps_its_versions_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smoke = {"profile": "smoke"}
    assert load_settings(smoke).name == "digits-smoke"
    (tmp_path / "digits.toml").write_text('name = "letters"\n')
    assert [load_settings(values).name for values in ({}, smoke)] == ["letters", "letters-smoke"]
    assert load_settings({**smoke, "name": "mine"}).name == "mine"
    monkeypatch.setenv("DIGITS_NAME", "ours")
    assert load_settings(smoke).name == "ours"


def _schema(folder: Path, channels: int) -> Path:
    file = folder / "schema.pbtxt"
    file.write_text(f"""
        feature {{
          name: "image" type: BYTES annotation {{ tag: "height: 8" tag: "width: 9" tag: "channels: {channels}" }}
        }}
        feature {{ name: "label" type: BYTES string_domain {{ value: "cat" value: "dog" }} }}
        feature {{ name: "brightness_mean" type: FLOAT }}
        feature {{ name: "brightness_deviation" type: FLOAT }}
    """)
    return file


def test_the_contract_of_the_schema(tmp_path: Path) -> None:
    settings = load_settings({"data": {"schema_file": _schema(tmp_path, channels=1)}})
    assert load_contract(settings) == Contract(("cat", "dog"), 8, 9, 1)


def test_color_does_not_fit_ink(tmp_path: Path) -> None:
    values = {"data": {"schema_file": _schema(tmp_path, channels=3)}}
    with pytest.raises(
        SettingsError, match=r"^trainer.preparation: expected 'resize' for the color .*schema.pbtxt, not"
    ):
        load_contract(load_settings(values))
    settings = load_settings({**values, "trainer": {"preparation": "resize"}})
    assert load_contract(settings).channels == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "not a schema in text format"),
        (b"\xff\xfe", "this is UTF-16, "),
        (b"\xef\xbb\xbf", "this starts with a byte order mark; save it as UTF-8 without BOM"),
        (b"}", "not a schema in text format: 1:1"),
        (b"", "feature 'image'"),
    ],
)
def test_a_file_that_is_no_schema(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "schema.pbtxt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=f"^{file}: .*{message}"):
        load_contract(load_settings({"data": {"schema_file": file}}))


@pytest.mark.parametrize("profile", ["smoke", "fast", "default"])
def test_every_profile_is_valid(profile: str) -> None:
    assert load_settings({"profile": profile}).profile == profile


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "trainer.epoch=3",
            r"^trainer.epoch: no such setting; did you mean 'epochs'\? Allowed: batch_size, depth, disturbed_share",
        ),
        (
            "traner.epochs=3",
            r"^traner: no such setting; did you mean 'trainer'\? Allowed: beam, data, data_gate, enable_cache",
        ),
        ("epochs=3", r"^epochs: no such setting; did you mean 'trainer.epochs'\? Allowed: beam"),
        ("trainer.epochs=many", "^trainer.epochs: Input should be a valid integer.*, not 'many'"),
        ("trainer.epochs=0", "^trainer.epochs: Input should be greater than or equal to 1, not '0'"),
        ("evaluation.min_accuracy=99", "^evaluation.min_accuracy: Input should be less than or equal to 1, not '99'"),
        ("profile=quick", "^profile: Input should be 'smoke', 'fast' or 'default', not 'quick'"),
        ("name=My Model", "^name: String should match pattern"),
        ("data.schema_file=no.pbtxt", "^data.schema_file: Path does not point to a file, not 'no.pbtxt'"),
        ("trainer=3", "^trainer: a section, not a setting; expected one of trainer.epochs, "),
        ("kubeflow.retries=3", "^kubeflow.retries: a section, not a setting; expected one of kubeflow.retries.max_r"),
        ("trainer.learning_rate=inf", "^trainer.learning_rate: Input should be a finite number"),
        ("trainer.seed=4294967296", "^trainer.seed: Input should be less than 4294967296"),
        ("data.seed=9223372036854775808", "^data.seed: Input should be less than 9223372036854775808"),
        ("workspace=", "^workspace: expected the path of a folder, not ''"),
        ("data.sample_fraction=0.5", "^data.sample_fraction: no such setting; use data.max_images instead: Number of"),
        ("data_gate.min_ink=9", "^data_gate.min_ink: no such setting; use data_gate.min_saturated instead: Minimum"),
        (
            "evaluation.min_digit_accuracy=0.9",
            "^evaluation.min_digit_accuracy: no such setting; use evaluation.min_class_accuracy instead: Minimum",
        ),
        (
            "evaluation.max_digit_drop=0.1",
            "^evaluation.max_digit_drop: no such setting; use evaluation.max_class_drop instead: Maximum",
        ),
        ("trainer.epochs", r"^'trainer.epochs': expected section.key=value"),
        ("=3", r"^'=3': expected section.key=value"),
    ],
)
def test_wrong_assignments_are_explained(assignment: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(parse_assignments((assignment,)))


def test_an_assignment_to_a_key_below_a_value_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^trainer\.epochs\.x=1: trainer\.epochs is a value, not a section"):
        parse_assignments(("trainer.epochs=3", "trainer.epochs.x=1"))


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        load_settings({"trainer": {"epochs": 0, "shear": 2}})
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == ["trainer.epochs", "trainer.shear"]


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("DIGITS_TRAINR__EPOCHS", "^environment: DIGITS_TRAINR__EPOCHS: no such setting; did you mean"),
        ("DIGITS_TRAINER__EPOCH", "^trainer.epoch: no such setting; did you mean 'epochs'"),
    ],
)
def test_misspelled_variables(monkeypatch: pytest.MonkeyPatch, variable: str, message: str) -> None:
    monkeypatch.setenv(variable, "3")
    with pytest.raises(SettingsError, match=message):
        load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer = = 3", "^digits.toml: not valid TOML: .*line 1"),
        ('profile = ["smoke"]', "^profile: Input should be 'smoke', 'fast' or 'default'"),
        ("[profile]", "^profile: Input should be 'smoke', 'fast' or 'default'"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "digits.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_from_windows(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "digits.toml").write_text('name = "letters"\r\n', encoding=encoding)
    if encoding == "utf-8-sig":
        assert load_settings().name == "letters"
    else:
        with pytest.raises(SettingsError, match=r"^digits\.toml: this is UTF-16, .*; save it as UTF-8\.$"):
            load_settings()


@pytest.mark.parametrize("name", ["x[1]", "a*", "what?", "a\\b"])
def test_a_workspace_that_libraries_take_for_a_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name
    message = f"^workspace: {re.escape(str(folder))}.* take for a pattern; rename the folder, or choose another with"
    with pytest.raises(SettingsError, match=message):
        load_settings({"workspace": str(folder / "new")})
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(SettingsError, match=message):
        load_settings()
    assert load_settings({"workspace": str(tmp_path)}).workspace == tmp_path


def test_a_workspace_that_tensorflow_does_not_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings({"workspace": str(tmp_path / "Prüfung")}).workspace == tmp_path / "Prüfung"
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(SettingsError, match="^workspace: .*Prüfung: .* encodes them as iso8859-1; set LC_ALL=C.UTF-8"):
        load_settings({"workspace": str(tmp_path / "Prüfung")})
    assert load_settings({"workspace": str(tmp_path)}).workspace == tmp_path


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="absent.toml: cannot be read: No such file"):
        load_settings(file=tmp_path / "absent.toml")


def test_settings_are_frozen() -> None:
    settings: Settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.trainer.epochs = 3  # type: ignore[misc]


def test_the_key_that_versions_must_have(tmp_path: Path) -> None:
    ours, theirs, development = (tmp_path / name for name in ("ours.pem", "theirs.pub", "development-signing-key.pub"))
    for file in (ours, theirs):
        file.touch()

    def policy(*assignments: str) -> TrustPolicy:
        values = parse_assignments((f"workspace={tmp_path}", *assignments))
        return load_settings(values).trust_policy

    assert policy() == TrustPolicy()
    development.touch()
    assert policy("signing.allow_unverified=true") == TrustPolicy(
        development, is_development=True, allow_unverified=True
    )
    assert policy(f"signing.private_key={ours}") == TrustPolicy(ours)
    assert policy(f"signing.private_key={ours}", f"signing.public_key={theirs}") == TrustPolicy(theirs)
