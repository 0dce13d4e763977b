import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import tfx.components  # noqa: F401 (TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.)
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import Artifact

from components import pusher
from components.example_gen import executor as example_gen
from components.verdict import Finding, Verdict, write_verdict
from pipeline.kubeflow.step import entrypoint
from pipeline.kubeflow.step.entrypoint import run_executor
from pipeline.kubeflow.step.executor_messages import LocalInput
from pipeline.kubeflow.step.failure import KubeflowStepError
from pipeline.settings.settings import PROJECT_ROOT

ROOT = "mlpipeline/v2/artifacts/digits/run-1"
TASK = f"{ROOT}/DataGate/uuid"
VERDICT_TYPE = {"instanceSchema": "title: digits.Verdict\ntype: object\n"}
STATISTICS_TYPE = {"instanceSchema": "title: tfx.ExampleStatistics\ntype: object\n"}
PARAMETER_SPEC = {"span": {"parameterType": "NUMBER_INTEGER"}, "share": {"parameterType": "NUMBER_DOUBLE"}}

Json = dict[str, Any]
Artifacts = dict[str, list[Artifact]]
Execute = Callable[[LocalInput], Json | None]
UseExecutor = Callable[[Execute], None]


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """The root of a pod to which the launcher has copied the input."""
    statistics = tmp_path / "minio" / ROOT / "StatisticsGen" / "uuid" / "statistics"
    statistics.mkdir(parents=True)
    (statistics / "FeatureStats.pb").write_text("statistics")
    (tmp_path / "minio" / TASK).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def arguments(pod: Path, tmp_path: Path) -> list[str]:
    """The command line of a step."""
    executor_input = {
        "inputs": {
            "parameterValues": {"limits": "{}", "serving_directory": str(tmp_path / "serving" / "digits")},
            "artifacts": {
                "statistics": {"artifacts": [{"uri": f"minio://{ROOT}/StatisticsGen/uuid/statistics", "name": "17"}]}
            },
        },
        "outputs": {
            "artifacts": {"verdict": {"artifacts": [{"uri": f"minio://{TASK}/verdict", "type": VERDICT_TYPE}]}},
            "outputFile": f"/minio/{TASK}/output_metadata.json",
        },
    }
    spec = {"artifacts": {"statistics": {"artifactType": STATISTICS_TYPE}}, "parameters": {}}
    return [
        "--executor_class_path=components.data_gate.component.DataGate_Executor",
        f"--json_serialized_invocation_args={json.dumps(executor_input)}",
        f"--json_serialized_inputs_spec_args={json.dumps(spec)}",
        f"--pod_root={pod}",
    ]


@pytest.fixture
def output_file(pod: Path) -> Path:
    return pod / "minio" / TASK / "output_metadata.json"


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> UseExecutor:
    """Replaces the executor by a function; it returns metadata of the verdict."""

    def use(execute: Execute) -> None:
        def run(class_path: str, local: LocalInput, *_: Any) -> Json:
            metadata = execute(local)
            [(key, artifact)] = local.outputs
            output = {"uri": artifact["uri"]} if metadata is None else {"uri": artifact["uri"], "metadata": metadata}
            return {"artifacts": {key: {"artifacts": [output]}}}

        monkeypatch.setattr(entrypoint, "run_executor", run)

    return use


def refuse(local: LocalInput) -> None:
    finding = Finding("examples", "train", passed=False, value=1, lower_bound=5, reason="too few examples")
    write_verdict(Verdict("DataGate", (finding,), "Add data."), local.outputs[0][1]["uri"])


def written_verdict(output_file: Path) -> Json:
    [verdict] = json.loads(output_file.read_text())["artifacts"]["verdict"]["artifacts"]
    return verdict


def test_step_writes_its_output_and_logs_what_it_did(
    executor: UseExecutor,
    arguments: list[str],
    output_file: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    executor(refuse)
    with caplog.at_level("INFO"):
        assert entrypoint.main(arguments) == 0
    assert written_verdict(output_file) == {"uri": f"minio://{TASK}/verdict", "metadata": {"num_files": 2}}
    printed = capsys.readouterr().out
    assert "DataGate: REFUSED" in printed
    assert "too few examples" in printed
    assert caplog.messages[-1].startswith("DataGate: done in ")
    assert caplog.messages[-1].endswith(f' s; outputs: verdict minio://{TASK}/verdict {{"num_files": 2}}')


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KubeflowStepError("the image lacks it."), "the image lacks it."),
        (
            OSError(errno.EROFS, os.strerror(errno.EROFS), "/minio/model"),
            "DataGate: /minio/model: Read-only file system",
        ),
        (ValueError("no such thing"), "DataGate failed: ValueError: no such thing"),
    ],
)
def test_failure_ends_in_one_line_below_the_traceback_of_a_bug(
    error: Exception,
    line: str,
    executor: UseExecutor,
    arguments: list[str],
    output_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: LocalInput) -> None:
        raise error

    executor(fail)
    assert entrypoint.main(arguments) == 1
    *above, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"Error: {line}")
    assert above[:1] == (["Traceback (most recent call last):"] if isinstance(error, ValueError) else [])
    assert not output_file.exists()


def test_missing_input_is_named(
    executor: UseExecutor, arguments: list[str], pod: Path, output_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executor(refuse)
    (pod / "minio" / ROOT / "StatisticsGen" / "uuid" / "statistics" / "FeatureStats.pb").unlink()
    assert entrypoint.main(arguments) == 1
    assert capsys.readouterr().err.startswith(
        f'Error: input artifact "statistics" (minio://{ROOT}/StatisticsGen/uuid/statistics): nothing there; '
    )
    assert not output_file.exists()


def test_credentials_of_the_store_get_their_names_in_the_step_only(
    executor: UseExecutor, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "DIGITS_STORE__AWS_ACCESS_KEY_ID": "me"})

    def look(local: LocalInput) -> None:
        assert os.environ["AWS_ACCESS_KEY_ID"] == "me"
        refuse(local)

    executor(look)
    assert entrypoint.main(arguments) == 0


def test_serving_store_is_mirrored(
    executor: UseExecutor, arguments: list[str], tmp_path: Path, output_file: Path
) -> None:
    serving = tmp_path / "serving" / "digits"
    fsspec.filesystem("memory").pipe("/pushed/digits/6/saved_model.pb", b"old")

    def push(local: LocalInput) -> Json:
        assert (serving / "6" / "saved_model.pb").read_text() == "old"
        (serving / "7").mkdir()
        (serving / "7" / "saved_model.pb").write_text("graph")
        return {"pushed_destination": str(serving / "7")}

    executor(push)
    executor_input = json.loads(arguments[1].partition("=")[2])
    executor_input["inputs"]["parameterValues"] = {"serving_directory": str(serving)}
    arguments[1] = f"--json_serialized_invocation_args={json.dumps(executor_input)}"
    assert entrypoint.main([*arguments, "--serving_store=memory://pushed"]) == 0
    assert fsspec.filesystem("memory").cat("/pushed/digits/7/saved_model.pb") == b"graph"
    assert written_verdict(output_file)["metadata"]["pushed_destination"] == "memory://pushed/digits/7"


def test_staged_step_returns_the_uris_of_the_store(
    executor: UseExecutor, arguments: list[str], tmp_path: Path, output_file: Path
) -> None:
    def run(local: LocalInput) -> Json:
        refuse(local)
        uri = local.outputs[0][1]["uri"]
        assert uri.startswith(str(tmp_path / "shared"))
        return {"copy": uri}

    executor(run)
    assert entrypoint.main([*arguments, f"--staging_folder={tmp_path / 'shared'}"]) == 0
    uri = f"minio://{TASK}/verdict"
    assert written_verdict(output_file) == {"uri": uri, "metadata": {"copy": uri, "num_files": 2}}


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


def test_executor_receives_its_context_inputs_and_properties(
    local: LocalInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Json = {}

    def do(self: Any, inputs: Artifacts, outputs: Artifacts, properties: Json) -> None:
        seen.update(
            properties, run=self._context.pipeline_run_id, temporary=self._get_tmp_dir(), model=inputs["model"][0]
        )
        outputs["examples"][0].span = properties["span"]
        outputs["examples"][0].set_string_custom_property("fingerprint", "ab")

    monkeypatch.setattr(pusher.Executor, "Do", do)
    output = run_executor(
        "components.pusher.Executor", local, {"parameters": PARAMETER_SPEC}, ["--runner=DirectRunner"]
    )
    model = seen.pop("model")
    assert (model.uri, model.get_string_custom_property("version")) == (str(tmp_path / "in"), "5")
    temporary = str(tmp_path / "uuid" / ".temp" / "uuid" / "")
    assert Path(seen.pop("temporary")) == Path(temporary), "the launcher does not upload it"
    assert seen == {"span": 3, "share": 1.0, "name": "digits", "run": "run-1"}
    [examples] = output["artifacts"]["examples"]["artifacts"]
    assert examples["uri"] == str(tmp_path / "uuid" / "out")
    assert examples["metadata"]["fingerprint"] == "ab"
    assert examples["metadata"]["span"] == 3
    assert "tfx_version" in examples["metadata"], "without it TFX expects the file layout of old versions"


def test_beam_executor_receives_beam_options(local: LocalInput, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Json = {}

    def do(self: BaseBeamExecutor, *_: Any) -> None:
        seen.update(run=self._context.pipeline_run_id, options=self._beam_pipeline_args)

    monkeypatch.setattr(example_gen.Executor, "Do", do)
    options = ["--runner=DirectRunner", "--sdk_container_image=none"]
    run_executor("components.example_gen.executor.Executor", local, {"parameters": PARAMETER_SPEC}, options)
    assert seen["run"] == "run-1"
    assert seen["options"][:2] == options


def test_model_ids_in_a_blessing_become_names(local: LocalInput, monkeypatch: pytest.MonkeyPatch) -> None:
    def do(_: Any, inputs: Artifacts, outputs: Artifacts, *__: Any) -> None:
        outputs["blessing"][0].set_int_custom_property("current_model_id", inputs["model"][0].id)

    monkeypatch.setattr(pusher.Executor, "Do", do)
    artifacts = local.executor_input["outputs"]["artifacts"]
    artifacts["blessing"] = artifacts.pop("examples")
    artifacts["blessing"]["artifacts"][0]["type"] = {"schemaTitle": "tfx.ModelBlessing"}
    output = run_executor("components.pusher.Executor", local, {"parameters": PARAMETER_SPEC}, [])
    assert output["artifacts"]["blessing"]["artifacts"][0]["metadata"]["current_model_id"] == "17"


@pytest.mark.parametrize(
    ("class_path", "reason"),
    [
        ("absent_package.executor.Executor", "No module named 'absent_package'"),
        ("components.absent.Executor", "No module named 'components.absent'"),
        ("components.pusher.Absent", "module 'components.pusher' has no attribute 'Absent'"),
    ],
)
def test_missing_executor_is_named(class_path: str, reason: str, local: LocalInput) -> None:
    with pytest.raises(
        KubeflowStepError,
        match=rf"^{class_path}: not in this image \({reason}\); build the image from the code",
    ):
        run_executor(class_path, local, {"parameters": PARAMETER_SPEC}, [])


@pytest.mark.slow
def test_whole_step_in_a_process(pod: Path, tmp_path: Path) -> None:
    executor_input = {
        "inputs": {"parameterValues": {"schema_file": "data/schema.pbtxt"}},
        "outputs": {
            "artifacts": {
                "schema": {
                    "artifacts": [
                        {
                            "uri": f"s3://{TASK}/schema",
                            "name": "schema",
                            "type": {"instanceSchema": "title: tfx.Schema\ntype: object\n"},
                        }
                    ]
                },
                "executor-logs": {
                    "artifacts": [{"uri": f"s3://{TASK}/executor-logs", "type": {"schemaTitle": "system.Artifact"}}]
                },
            },
            "outputFile": f"/s3/{TASK}/output_metadata.json",
        },
    }
    step = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.kubeflow.step.entrypoint"),
            "--executor_class_path=tfx.components.schema_gen.import_schema_gen.executor.Executor",
            f"--json_serialized_invocation_args={json.dumps(executor_input)}",
            "--json_serialized_inputs_spec_args={}",
            f"--pod_root={pod}",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert step.returncode == 0, step.stderr
    schema = (PROJECT_ROOT / "data" / "schema.pbtxt").read_text()
    assert (pod / "s3" / TASK / "schema" / "schema.pbtxt").read_text() == schema
    [artifact] = json.loads((pod / "s3" / TASK / "output_metadata.json").read_text())["artifacts"]["schema"][
        "artifacts"
    ]
    assert artifact["uri"] == f"s3://{TASK}/schema"
    assert "Starting executor" in step.stderr
    assert f" s; outputs: schema s3://{TASK}/schema " in step.stderr.splitlines()[-1]
