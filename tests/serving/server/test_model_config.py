from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from registry.labels import LabelError
from serving.server.model_config import choose_versions, find_versions, read_model_configs


def _make_version(model: Path, name: str) -> Path:
    (model / name).mkdir(parents=True)
    (model / name / "saved_model.pb").touch()
    return model / name


def test_without_a_file_every_folder_is_a_model(tmp_path: Path) -> None:
    for name in ("digits", "clothes", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    configs = read_model_configs(tmp_path)
    assert {name: config.name for name, config in configs.items()} == {"digits": "digits", "clothes": "clothes"}


def test_the_file_names_the_models_and_their_labels(tmp_path: Path) -> None:
    (tmp_path / "clothes").mkdir()
    (tmp_path / "models.config").write_text(
        'model_config_list { config { name: "digits" base_path: "/models/digits" '
        'version_labels { key: "stable" value: 3 } } }'
    )
    configs = read_model_configs(tmp_path)
    assert list(configs) == ["digits"]
    assert configs["digits"].version_labels["stable"] == 3


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("models: digits")
    with pytest.raises(LabelError, match="models.config: not a ModelServerConfig"):
        read_model_configs(tmp_path)


def test_versions_are_complete_folders_named_by_numbers(tmp_path: Path) -> None:
    expected = {int(name): _make_version(tmp_path, name) for name in ("1", "10", str(2**63 - 1))}
    for name in (".publishing-3", "latest", "²", "-1", str(2**63)):
        _make_version(tmp_path, name)
    (tmp_path / "4").mkdir()
    (tmp_path / "5").touch()
    assert find_versions(tmp_path) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", {10}),
        ("latest {}", {10}),
        ("latest { num_versions: 2 }", {9, 10}),
        ("latest { num_versions: 7 }", {1, 9, 10}),
        ("all {}", {1, 9, 10}),
        ("specific { versions: 1 versions: 8 }", {1}),
        ("specific {}", set()),
    ],
)
def test_the_policy_chooses(policy: str, expected: set[int]) -> None:
    config = text_format.Parse(f"model_version_policy {{ {policy} }}", ModelConfig())
    versions = {number: Path(str(number)) for number in (9, 1, 10)}
    assert choose_versions(config, versions) == {number: versions[number] for number in expected}
