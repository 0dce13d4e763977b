import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.kubeflow.compile.runner import compile_pipeline
from pipeline.kubeflow.compile.runtime_parameters import PARAMETERS, parameter_values, path_in_image, settings_values
from pipeline.kubeflow.step.executor_messages import apply_overrides
from pipeline.settings.gates import EvaluationSettings, RobustnessSettings
from pipeline.settings.settings import PROJECT_ROOT, SettingsError, load_settings

NO_FILE = Path(os.devnull)
# Each is another, so that none can be taken for its neighbour.
CHOSEN: dict[str, Any] = {
    "data_uri": "s3://bucket/span-{SPAN}",
    "data_span": 17,
    "image": "registry.example.com/digits:2",
    "epochs": 23,
    **{
        parameter.name: 0.101 + number / 1000
        for number, parameter in enumerate(PARAMETERS)
        if parameter.type == "NUMBER_DOUBLE"
    },
}


def task_parameters(spec: dict[str, Any], step: str) -> dict[str, Any]:
    found: dict[str, Any] = spec["root"]["dag"]["tasks"][step]["inputs"]["parameters"]
    return found


def constants(spec: dict[str, Any], step: str) -> dict[str, Any]:
    """The execution properties of TFX, JSON texts parsed."""
    return {
        key: parsed(source["runtimeValue"]["constant"])
        for key, source in task_parameters(spec, step).items()
        if "runtimeValue" in source
    }


def overridden(spec: dict[str, Any], step: str, values: dict[str, Any]) -> dict[str, Any]:
    """What the entry point makes of them and the values of a run."""
    sources = task_parameters(spec, step)
    given = {
        key: values[source["componentInputParameter"]]
        if "componentInputParameter" in source
        else source["runtimeValue"]["constant"]
        for key, source in sources.items()
    }
    arguments = spec["deploymentSpec"]["executors"][f"{step}_executor"]["container"]["args"]
    overrides = [each.removeprefix("--override=") for each in arguments if each.startswith("--override=")]
    properties = apply_overrides(given, overrides, {})
    assert properties.pop("image") == values["image"]
    return {key: parsed(value) for key, value in properties.items()}


def parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def test_a_value_of_a_run_has_the_effect_of_the_setting(compiled_spec: dict[str, Any]) -> None:
    settings = load_settings({"profile": "smoke"} | settings_values(CHOSEN), file=NO_FILE)
    as_settings, _ = yaml.safe_load_all(compile_pipeline(settings, "kfp"))
    defaults = parameter_values(load_settings({"profile": "smoke"}, file=NO_FILE))
    assert set(CHOSEN) == set(defaults) == set(compiled_spec["root"]["inputDefinitions"]["parameters"])
    concerned = set()
    for step in compiled_spec["root"]["dag"]["tasks"]:
        assert overridden(compiled_spec, step, CHOSEN) == constants(as_settings, step)
        assert overridden(compiled_spec, step, defaults) == constants(compiled_spec, step)
        if constants(compiled_spec, step) != constants(as_settings, step):
            concerned.add(step)
    assert concerned == {"MnistExampleGen", "Trainer", "Evaluator", "RobustnessEvaluator"}


def test_every_threshold_is_a_parameter() -> None:
    thresholds = {
        f"{section}.{key}"
        for section, fields in (("evaluation", EvaluationSettings), ("robustness", RobustnessSettings))
        for key in fields.model_fields
        if key.startswith(("min_", "max_"))
    }
    chosen = {"data.uri", "data.span", "kubeflow.image", "trainer.epochs"}
    assert {parameter.setting for parameter in PARAMETERS} == thresholds | chosen
    assert all(parameter.description for parameter in PARAMETERS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "^trainer.epochs: Input should be greater than or equal to 1, not 0"),
        ({"epochs": "2.5"}, "^trainer.epochs: Input should be a valid integer"),
        ({"min_accuracy": "99"}, "^evaluation.min_accuracy: Input should be less than or equal to 1, not '99'"),
        ({"image": "Digits"}, "^kubeflow.image: expected a repository in lower case"),
        ({"data_span": -2}, "^data.span: Input should be greater than or equal to 0"),
        ({"epoch": 3}, "^epoch: no such parameter; did you mean epochs[?] allowed: data_uri, data_span, image, epochs"),
    ],
)
def test_values_are_checked_by_their_settings(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(settings_values(given), file=NO_FILE)


@pytest.mark.parametrize("newest", [-1, "-1"])
def test_the_newest_span(newest: Any) -> None:
    settings = load_settings(settings_values({"data_span": newest, "epochs": "3"}), file=NO_FILE)
    assert settings.data.span is None
    values = parameter_values(settings)
    assert (values["data_span"], values["epochs"]) == (-1, 3)


def test_places_in_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert path_in_image(str(PROJECT_ROOT / "data" / "mnist.npz")) == "data/mnist.npz"
    assert path_in_image(f"file://{PROJECT_ROOT}/data/mnist.npz") == "data/mnist.npz"
    assert path_in_image("/data/span-{SPAN}/x.npz") == "/data/span-{SPAN}/x.npz"
    assert path_in_image(f"{PROJECT_ROOT}-other/x.npz") == f"{PROJECT_ROOT}-other/x.npz"
    assert path_in_image("s3://bucket/x.npz") == "s3://bucket/x.npz"
    monkeypatch.chdir(tmp_path)
    assert path_in_image("x.npz") == str(tmp_path / "x.npz")
    monkeypatch.chdir(PROJECT_ROOT / "data")
    assert path_in_image("mnist.npz") == "data/mnist.npz"
