from pathlib import Path

import pytest
from tfx.types import Artifact
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.baseline_model import LatestBlessedOtherModelStrategy


def model(number: int, folder: Path) -> Model:
    artifact = Model()
    artifact.id = number
    artifact.uri = str(folder / str(number))
    Path(artifact.uri).mkdir(exist_ok=True)
    return artifact


def blessing(of: int, blessed: bool) -> ModelBlessing:
    artifact = ModelBlessing()
    artifact.id = 100 + of
    artifact.set_int_custom_property("current_model_id", of)
    artifact.set_int_custom_property("blessed", int(blessed))
    return artifact


def make_inputs(
    folder: Path, candidate: int, models: list[int], blessings: dict[int, bool]
) -> dict[str, list[Artifact]]:
    return {
        "candidate": [model(candidate, folder)],
        "model": [model(number, folder) for number in models],
        "model_blessing": [blessing(of, blessed) for of, blessed in blessings.items()],
    }


def resolve(inputs: dict[str, list[Artifact]]) -> dict[str, list[Artifact]]:
    resolved = LatestBlessedOtherModelStrategy().resolve_artifacts(None, inputs)
    assert resolved is not None
    return resolved


@pytest.mark.parametrize(
    ("candidate", "models", "blessings", "baseline"),
    [
        pytest.param(1, [1], {}, [], id="first run"),
        pytest.param(1, [1], {1: True}, [], id="first run repeated"),
        pytest.param(2, [1, 2], {1: True}, [1], id="second model"),
        pytest.param(2, [1, 2], {1: True, 2: True}, [1], id="second model repeated"),
        pytest.param(3, [1, 2, 3], {1: True, 2: False}, [1], id="refused ones do not count"),
        pytest.param(1, [1, 2], {1: True, 2: True}, [2], id="an older model comes back"),
    ],
)
def test_baseline(
    tmp_path: Path, candidate: int, models: list[int], blessings: dict[int, bool], baseline: list[int]
) -> None:
    resolved = resolve(make_inputs(tmp_path, candidate, models, blessings))
    assert [artifact.id for artifact in resolved["model"]] == baseline
    assert [artifact.id for artifact in resolved["model_blessing"]] == [100 + number for number in baseline]
    assert [artifact.id for artifact in resolved["candidate"]] == [candidate]


def test_a_model_whose_files_are_gone_is_no_baseline(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, 3, [1, 2, 3], {1: True, 2: True})
    (tmp_path / "2").rmdir()
    assert [artifact.id for artifact in resolve(inputs)["model"]] == [1]
