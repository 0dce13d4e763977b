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

from components.verdict import Finding, Verdict, write_verdict
from pipeline.kubeflow.step import entrypoint as kubeflow_entrypoint
from pipeline.kubeflow.step.executor_input import LocalInput
from pipeline.kubeflow.step.failure import KubeflowStepError
from pipeline.settings.settings import PROJECT_ROOT

ROOT = "mlpipeline/v2/artifacts/digits/run-1"
TASK = f"{ROOT}/DataGate/uuid"
VERDICT_TYPE = {"instanceSchema": "title: digits.Verdict\ntype: object\n"}
STATISTICS_TYPE = {"instanceSchema": "title: tfx.ExampleStatistics\ntype: object\n"}

Json = dict[str, Any]
Execute = Callable[[LocalInput], None]


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """The root of a pod into which the launcher has copied the input."""
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
        "--executor_class_path=components.data_gate.executor.Executor",
        f"--json_serialized_invocation_args={json.dumps(executor_input)}",
        f"--json_serialized_inputs_spec_args={json.dumps(spec)}",
        f"--pod_root={pod}",
    ]


@pytest.fixture
def output_file(pod: Path) -> Path:
    return pod / "minio" / TASK / "output_metadata.json"


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Callable[[Execute], None]:
    """Puts a function in the place of the executor; the output is filled as TFX fills it."""

    def use(execute: Execute) -> None:
        def run(class_path: str, local: LocalInput, *_: Any) -> Json:
            execute(local)
            outputs = {key: {"artifacts": [{"uri": found[0]["uri"]}]} for key, found in local.outputs.items()}
            return {"artifacts": outputs}

        monkeypatch.setattr(kubeflow_entrypoint, "run_executor", run)

    return use


def refuse(local: LocalInput) -> None:
    finding = Finding("examples", "train", passed=False, value=1, lower_bound=5, reason="too few examples")
    write_verdict(Verdict("DataGate", (finding,), "Add data."), local.outputs["verdict"][0]["uri"])


def test_a_step_hands_over_its_output_and_says_what_it_did(
    executor: Callable[[Execute], None],
    arguments: list[str],
    output_file: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    executor(refuse)
    with caplog.at_level("INFO"):
        assert kubeflow_entrypoint.main(arguments) == 0
    [verdict] = json.loads(output_file.read_text())["artifacts"]["verdict"]["artifacts"]
    assert verdict == {"uri": f"minio://{TASK}/verdict", "metadata": {"num_files": 2}}
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
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/minio/model"),
            "DataGate: /minio/model: No space left on device; ask for more ephemeral storage for this step, or free "
            "some on the volume.",
        ),
    ],
)
def test_foreseeable_trouble_ends_in_one_line(
    error: Exception,
    line: str,
    executor: Callable[[Execute], None],
    arguments: list[str],
    output_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: LocalInput) -> None:
        raise error

    executor(fail)
    assert kubeflow_entrypoint.main(arguments) == 1
    assert capsys.readouterr().err == f"Error: {line}\n"
    assert not output_file.exists()


def test_a_bug_leaves_its_traceback_above_the_line(
    executor: Callable[[Execute], None], arguments: list[str], output_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: LocalInput) -> None:
        raise ValueError("no such thing")

    executor(fail)
    assert kubeflow_entrypoint.main(arguments) == 1
    *above, last = capsys.readouterr().err.splitlines()
    assert above[0] == "Traceback (most recent call last):"
    assert last == "Error: DataGate: ValueError: no such thing"
    assert not output_file.exists()


def test_a_removed_input_is_named(
    executor: Callable[[Execute], None],
    arguments: list[str],
    pod: Path,
    output_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    executor(refuse)
    (pod / "minio" / ROOT / "StatisticsGen" / "uuid" / "statistics" / "FeatureStats.pb").unlink()
    assert kubeflow_entrypoint.main(arguments) == 1
    assert capsys.readouterr().err.startswith(
        f'Error: input artifact "statistics" (minio://{ROOT}/StatisticsGen/uuid/statistics): nothing there; '
    )
    assert not output_file.exists()


def test_an_output_that_cannot_be_written_is_named_before_the_step_runs(
    executor: Callable[[Execute], None], arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def refuse_to_write(self: Path, **_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    executor(refuse)
    monkeypatch.setattr(Path, "mkdir", refuse_to_write)
    assert kubeflow_entrypoint.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: DataGate: ")
    assert error.endswith(f"{TASK}: Read-only file system; mount a volume there that can be written to.\n")


def test_the_serving_store_is_fetched_before_the_step(
    executor: Callable[[Execute], None], arguments: list[str], tmp_path: Path
) -> None:
    version = tmp_path / "store" / "digits" / "7"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_text("graph")
    seen: list[bool] = []

    def look(local: LocalInput) -> None:
        refuse(local)
        seen.append(Path(local.parameters["serving_directory"], "7", "saved_model.pb").is_file())

    executor(look)
    assert kubeflow_entrypoint.main([*arguments, f"--serving_store=file://{tmp_path}/store"]) == 0
    assert seen == [True]


def test_what_pusher_has_published_is_uploaded_and_its_url_recorded(
    executor: Callable[[Execute], None],
    arguments: list[str],
    tmp_path: Path,
    output_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serving, store = tmp_path / "serving" / "digits", "memory://pushed"
    version = serving / "7"

    def push(class_path: str, local: LocalInput, *_: Any) -> Json:
        version.mkdir(parents=True)
        (version / "saved_model.pb").write_text("graph")
        metadata = {"pushed_destination": str(version)}
        return {
            "artifacts": {"verdict": {"artifacts": [{"uri": local.outputs["verdict"][0]["uri"], "metadata": metadata}]}}
        }

    monkeypatch.setattr(kubeflow_entrypoint, "run_executor", push)
    destination = json.dumps({"filesystem": {"base_directory": str(serving)}})
    executor_input = json.loads(arguments[1].partition("=")[2])
    executor_input["inputs"]["parameterValues"] = {"push_destination": destination}
    arguments[1] = f"--json_serialized_invocation_args={json.dumps(executor_input)}"
    assert kubeflow_entrypoint.main([*arguments, f"--serving_store={store}"]) == 0
    assert fsspec.filesystem("memory").cat("/pushed/digits/7/saved_model.pb") == b"graph"
    [verdict] = json.loads(output_file.read_text())["artifacts"]["verdict"]["artifacts"]
    assert verdict["metadata"]["pushed_destination"] == f"{store}/digits/7"


def test_a_staged_step_hands_over_the_uris_of_the_store(
    arguments: list[str], tmp_path: Path, output_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(class_path: str, local: LocalInput, *_: Any) -> Json:
        refuse(local)
        uri = local.outputs["verdict"][0]["uri"]
        assert uri.startswith(str(tmp_path / "shared"))
        return {"artifacts": {"verdict": {"artifacts": [{"uri": uri, "metadata": {"copy": uri}}]}}}

    monkeypatch.setattr(kubeflow_entrypoint, "run_executor", run)
    assert kubeflow_entrypoint.main([*arguments, f"--staging_folder={tmp_path / 'shared'}"]) == 0
    [verdict] = json.loads(output_file.read_text())["artifacts"]["verdict"]["artifacts"]
    uri = f"minio://{TASK}/verdict"
    assert verdict == {"uri": uri, "metadata": {"copy": uri, "num_files": 2}}


def test_a_whole_step_as_the_pod_runs_it(pod: Path, tmp_path: Path) -> None:
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
