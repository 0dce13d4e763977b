from pathlib import Path
from typing import Any

import pytest

# TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.
import tfx.components
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import Artifact

from components import baseline_model
from components.example_gen import executor as example_gen
from pipeline.kubeflow.step.executor_input import LocalInput
from pipeline.kubeflow.step.executor_run import run_executor
from pipeline.kubeflow.step.failure import KubeflowStepError

Json = dict[str, Any]
Artifacts = dict[str, list[Artifact]]

SPEC: Json = {"parameters": {"span": {"parameterType": "NUMBER_INTEGER"}, "share": {"parameterType": "NUMBER_DOUBLE"}}}


@pytest.fixture
def local(tmp_path: Path) -> LocalInput:
    model = {
        "uri": str(tmp_path / "in"),
        "name": "17",
        "type": {"schemaTitle": "tfx.Model"},
        "metadata": {"version": "5"},
    }
    examples = {"uri": str(tmp_path / "uuid" / "out"), "name": "examples", "type": {"schemaTitle": "tfx.Examples"}}
    executor_input = {
        "inputs": {
            "parameterValues": {"span": 3.0, "share": 1.0, "name": "digits"},
            "artifacts": {"model": {"artifacts": [model]}},
        },
        "outputs": {
            "artifacts": {"examples": {"artifacts": [examples]}},
            "outputFile": str(tmp_path / "uuid" / "output_metadata.json"),
        },
    }
    return LocalInput(executor_input, {}, "run-1")


def test_the_executor_gets_what_tfx_promises_it(
    local: LocalInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Json = {}

    def do(self: Any, inputs: Artifacts, outputs: Artifacts, properties: Json) -> None:
        seen.update(
            properties, run=self._context.pipeline_run_id, temporary=self._get_tmp_dir(), model=inputs["model"][0]
        )
        outputs["examples"][0].span = properties["span"]
        outputs["examples"][0].set_string_custom_property("fingerprint", "ab")

    monkeypatch.setattr(baseline_model.Executor, "Do", do)
    output = run_executor("components.baseline_model.Executor", local, SPEC, ["--runner=DirectRunner"])
    model = seen.pop("model")
    assert (model.uri, model.get_string_custom_property("version")) == (str(tmp_path / "in"), "5")
    temporary = str(tmp_path / "uuid" / ".temp" / "uuid" / "")
    assert Path(seen.pop("temporary")) == Path(temporary), "beside the outputs, of which the launcher takes no notice"
    assert seen == {"span": 3, "share": 1.0, "name": "digits", "run": "run-1"}
    [examples] = output["artifacts"]["examples"]["artifacts"]
    assert examples["uri"] == str(tmp_path / "uuid" / "out")
    assert examples["metadata"]["fingerprint"] == "ab"
    assert examples["metadata"]["span"] == 3
    assert "tfx_version" in examples["metadata"], "without it TFX takes the files to be laid out as years ago"


def test_beam_executors_get_the_options_of_the_engine_and_the_run(
    local: LocalInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Json = {}

    def do(self: BaseBeamExecutor, *_: Any) -> None:
        seen.update(run=self._context.pipeline_run_id, options=self._beam_pipeline_args)

    monkeypatch.setattr(example_gen.Executor, "Do", do)
    options = ["--runner=DirectRunner", "--sdk_container_image=none"]
    run_executor("components.example_gen.executor.Executor", local, SPEC, options)
    assert seen["run"] == "run-1"
    assert seen["options"][:2] == options


def test_ids_of_models_in_a_blessing_become_their_names(local: LocalInput, monkeypatch: pytest.MonkeyPatch) -> None:
    def do(_: Any, inputs: Artifacts, outputs: Artifacts, *__: Any) -> None:
        outputs["blessing"][0].set_int_custom_property("current_model_id", inputs["model"][0].id)

    monkeypatch.setattr(baseline_model.Executor, "Do", do)
    artifacts = local.executor_input["outputs"]["artifacts"]
    artifacts["blessing"] = artifacts.pop("examples")
    artifacts["blessing"]["artifacts"][0]["type"] = {"schemaTitle": "tfx.ModelBlessing"}
    output = run_executor("components.baseline_model.Executor", local, SPEC, [])
    assert output["artifacts"]["blessing"]["artifacts"][0]["metadata"]["current_model_id"] == "17"


@pytest.mark.parametrize(
    ("class_path", "reason"),
    [
        ("absent_package.executor.Executor", "No module named 'absent_package'"),
        ("components.absent.Executor", "No module named 'components.absent'"),
        ("components.baseline_model.Absent", "module 'components.baseline_model' has no attribute 'Absent'"),
    ],
)
def test_an_image_without_the_executor_is_named(class_path: str, reason: str, local: LocalInput) -> None:
    with pytest.raises(
        KubeflowStepError,
        match=rf"^{class_path}: this image does not have it \({reason}\); build it from the code",
    ):
        run_executor(class_path, local, SPEC, [])


def test_tfx_is_whole() -> None:
    assert tfx.components.StatisticsGen is not None
