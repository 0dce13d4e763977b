"""Tests the parts of the emulator's contract that are not obvious from its code."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from google.protobuf import json_format

from tests.kubeflow.emulator.cluster import Cluster, PipelineRun
from tests.kubeflow.emulator.compiled_pipeline import CompiledPipeline
from tests.kubeflow.emulator.contract import ContractError, NotEmulatedError
from tests.kubeflow.emulator.launcher import Pod, PodDeletedError, PodEvictedError, ProcessRunner

# Prologue of each program below: its input, and functions to describe its output `made`.
_PROLOGUE = """
import json, os, pathlib, sys
given = json.loads(sys.argv[1])
root = pathlib.Path(sys.argv[-1].removeprefix("--pod_root="))
parameters = given["inputs"]["parameterValues"]
def local(uri):
    return root / uri.replace("://", "/")
def say(text):
    file = root / given["outputs"]["outputFile"].removeprefix("/")
    file.write_text(text)
def say_of_made(**artifact):
    say(json.dumps({"artifacts": {"made": {"artifacts": [artifact]}}}))
"""
_MAKE = """
made = local(given["outputs"]["artifacts"]["made"]["artifacts"][0]["uri"])
assert made.parent.is_dir() and not made.exists()
(made / "empty").mkdir(parents=True)
(made / "part").write_text(str(parameters["number"]))
"""
_SHOW = """
[used] = given["inputs"]["artifacts"]["used"]["artifacts"]
found = sorted(str(path.relative_to(local(used["uri"]))) for path in local(used["uri"]).rglob("*"))
print("RESULT", json.dumps({"used": used, "found": found, "exists": local(used["uri"]).exists(), "given": given}))
"""
_CONDITION = "(inputs.artifacts['used'].artifacts[0].metadata['passed'] == 1.0)"


_OTHER_ACCOUNT = {"AWS_ACCESS_KEY_ID": "other"}


def _task(
    program: str,
    *,
    caching: bool = False,
    retries: int = 0,
    condition: str = "",
    environment: Mapping[str, str] | None = None,
    platform: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the parts of a task with two parameters and an output; it has an input if it needs one."""
    uses = condition or program == _SHOW
    return {
        "component": {
            "executorLabel": "",
            "inputDefinitions": {
                "parameters": {
                    "number": {"parameterType": "NUMBER_INTEGER"},
                    "text": {"parameterType": "STRING"},
                },
                **({"artifacts": {"used": {"artifactType": {"instanceSchema": "title: t"}}}} if uses else {}),
            },
            "outputDefinitions": {"artifacts": {"made": {"artifactType": {"instanceSchema": "title: tfx.Made"}}}},
        },
        "task": {
            "taskInfo": {"name": ""},
            "componentRef": {"name": ""},
            "inputs": {
                "parameters": {name: {"componentInputParameter": "number"} for name in ("number", "text")},
                **(
                    {
                        "artifacts": {
                            "used": {"taskOutputArtifact": {"producerTask": "Make", "outputArtifactKey": "made"}}
                        }
                    }
                    if uses
                    else {}
                ),
            },
            **({"cachingOptions": {"enableCache": True}} if caching else {}),
            **({"retryPolicy": {"maxRetryCount": retries}} if retries else {}),
            **({"triggerPolicy": {"condition": condition}} if condition else {}),
        },
        "container": {
            "image": "image:1",
            "command": ["python", "-c", _PROLOGUE + program],
            "args": ["{{$}}"],
            "env": [{"name": name, "value": value} for name, value in (environment or {}).items()],
        },
        "platform": platform or {},
    }


def _pipeline(file: Path, **tasks: dict[str, Any]) -> CompiledPipeline:
    for name, parts in tasks.items():
        parts["component"]["executorLabel"] = name
        parts["task"] |= {"taskInfo": {"name": name}, "componentRef": {"name": name}}
    parameters = {"number": {"parameterType": "NUMBER_INTEGER", "defaultValue": 6}}
    document = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "tiny"},
        "deploymentSpec": {"executors": {name: {"container": parts["container"]} for name, parts in tasks.items()}},
        "components": {name: parts["component"] for name, parts in tasks.items()},
        "root": {
            "inputDefinitions": {"parameters": parameters},
            "dag": {"tasks": {name: parts["task"] for name, parts in tasks.items()}},
        },
    }
    executors = {name: parts["platform"] for name, parts in tasks.items()}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    file.write_text(yaml.safe_dump_all([document, platform]))
    return CompiledPipeline.load(file)


def _result(run: PipelineRun, task: str) -> Any:
    log = run.tasks[task].attempts[-1].log
    [line] = [line for line in log.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path / "cluster", ProcessRunner())


def test_metadata_after_the_round_trip_through_mlmd(cluster: Cluster, tmp_path: Path) -> None:
    said = {"truth": True, "number": 0.5, "text": "t", "items": [1, "a"], "keys": {"k": False}}
    pipeline = _pipeline(
        tmp_path / "p.yaml",
        Make=_task(f"{_MAKE}\nsay_of_made(metadata={said}, name='no', type=None)"),
        Show=_task(_SHOW),
    )
    run = cluster.run(pipeline)
    assert run.succeeded, run
    used = _result(run, "Show")["used"]
    assert used["type"] == {"instanceSchema": ""}
    assert used["name"] == str(run.tasks["Make"].outputs["made"].artifact_id)  # type: ignore[index]
    assert used["uri"].startswith(f"minio://mlpipeline/v2/artifacts/tiny/{run.run_id}/Make/")
    assert used["metadata"].pop("display_name") == "made"
    assert used["metadata"].pop("store_session_info") == (
        '{"Provider":"minio","Params":{"accessKeyKey":"accesskey","disableSSL":"true","endpoint":'
        '"seaweedfs.kubeflow:9000","fromEnv":"false","maxRetries":"5","region":"minio","secretKeyKey":"secretkey",'
        '"secretName":"mlpipeline-minio-artifact"}}'
    )
    wrapped = {"items": {"list": [1, "a"]}, "keys": {"struct": {"k": False}}}
    assert used["metadata"] == {"truth": 1, "number": 0.5, "text": "t", **wrapped}


def test_files_pass_through_the_store(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=_task(_MAKE), Show=_task(_SHOW)), {"number": 7})
    result = _result(run, "Show")
    assert result["found"] == ["part"], "an object store has no folders"
    assert result["given"]["inputs"]["parameterValues"] == {"number": 7, "text": "7"}
    assert cluster.store.path(result["used"]["uri"]).joinpath("part").read_text() == "7"
    assert not list(cluster.pods.iterdir())


def test_missing_output_is_a_missing_input(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=_task("pass"), Show=_task(_SHOW)))
    assert run.succeeded
    assert not _result(run, "Show")["exists"]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("sys.exit('no')", "exit status 1"),
        ("say_of_made(metadata={'a': None})", "a: unknown/unsupported value type null_value"),
        ("say_of_made(color='red')", 'no field named "color"'),
        ("say_of_made(metadata={'a': float('nan')})", "NaN is not JSON"),
        ("say_of_made(uri='minio://mlpipeline/v2/artifacts/tiny/other/made')", "does not have expected bucket prefix"),
        ("say_of_made(uri='/minio/mlpipeline/made')", "does not have expected bucket prefix"),
    ],
)
def test_task_that_breaks_the_contract_fails(cluster: Cluster, tmp_path: Path, program: str, message: str) -> None:
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=_task(f"{_MAKE}\n{program}"), Show=_task(_SHOW)))
    assert not run.succeeded
    assert message in run.tasks["Make"].failure
    assert run.tasks["Make"].outputs.keys() == {"executor-logs"}  # type: ignore[union-attr]
    assert run.tasks["Show"].state == "omitted"


def test_failing_pod_is_retried_in_a_new_folder(cluster: Cluster, tmp_path: Path) -> None:
    program = f"{_MAKE}\nprint('tried')\nsys.exit(os.environ['KFP_RETRY_INDEX'] == '0')"
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=_task(program, retries=2)))
    assert run.tasks["Make"].state == "succeeded"
    assert [attempt.exit_code for attempt in run.tasks["Make"].attempts] == [1, 0]
    logs = sorted(path.name for path in cluster.store.folder.rglob("executor-logs*"))
    assert logs == ["executor-logs-0", "executor-logs-1"]


class LosesEachPod:
    """Loses each pod after its command has ended."""

    def __init__(self, error: Exception) -> None:
        self._runner = ProcessRunner()
        self._error = error

    def run(self, pod: Pod, log: IO[bytes]) -> int:
        self._runner.run(pod, log)
        raise self._error


@pytest.mark.parametrize(
    ("error", "failures"),
    [(PodEvictedError("disk"), ["pod evicted: disk"] * 3), (PodDeletedError("node"), ["pod deleted: node"])],
)
def test_evicted_pod_is_retried_and_deleted_pod_is_not(tmp_path: Path, error: Exception, failures: list[str]) -> None:
    cluster = Cluster(tmp_path / "cluster", LosesEachPod(error))
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=_task(_MAKE, retries=2)))
    assert [attempt.failure for attempt in run.tasks["Make"].attempts] == failures
    assert run.tasks["Make"].state == "failed"
    assert run.tasks["Make"].outputs == {}


@pytest.mark.parametrize(
    "given",
    [
        {"environment": _OTHER_ACCOUNT},
        {
            "platform": {
                "secretAsEnv": [
                    {
                        "secretName": "account",
                        "keyToEnv": [{"secretKey": "id", "envVar": "AWS_ACCESS_KEY_ID"}],
                    }
                ]
            }
        },
    ],
    ids=["environment", "secret"],
)
@pytest.mark.parametrize(("root", "is_found"), [("s3://bucket/runs", False), ("minio://mlpipeline/runs", True)])
def test_launcher_without_a_session_uses_the_credentials_of_the_command(
    tmp_path: Path, given: dict[str, Any], root: str, is_found: bool
) -> None:
    cluster = Cluster(tmp_path / "cluster", ProcessRunner(), secrets={"account": {"id": "other"}})
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=_task(_MAKE, **given), Show=_task(_SHOW)), root=root)
    assert run.succeeded
    assert run.output("Make", "made").uri.startswith(root)
    assert _result(run, "Show")["exists"] is is_found


@pytest.mark.parametrize("root", ["s3://mlpipeline/v2/artifacts", "minio://other/v2/artifacts"])
def test_cached_output_cannot_be_downloaded_after_the_root_has_moved(
    cluster: Cluster, tmp_path: Path, root: str
) -> None:
    pipeline = _pipeline(tmp_path / "p.yaml", Make=_task(_MAKE, caching=True), Show=_task(_SHOW, retries=1))
    first = cluster.run(pipeline, root="minio://mlpipeline/v1")
    assert cluster.run(pipeline).succeeded, "another folder of the same bucket"
    show = cluster.run(pipeline, root=root).tasks["Show"]
    uri = first.output("Make", "made").uri
    failure = f"failed to download input artifact 'used' from remote storage URI '{uri}'"
    assert [attempt.failure.startswith(failure) for attempt in show.attempts] == [True, True]
    assert show.outputs == {}, "not even a log"


def test_no_task_starts_after_a_failure(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "cluster", ProcessRunner(), num_slots=1)
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Fail=_task("sys.exit(1)"), Other=_task(_MAKE)))
    assert (run.tasks["Fail"].state, run.tasks["Other"].state) == ("failed", "omitted")


def test_cache_depends_on_parameters_and_ids_but_not_on_files(cluster: Cluster, tmp_path: Path) -> None:
    pipeline = _pipeline(tmp_path / "p.yaml", Make=_task(_MAKE, caching=True), Show=_task(_SHOW, caching=True))
    first = cluster.run(pipeline)
    cluster.store.path(_result(first, "Show")["used"]["uri"]).joinpath("part").unlink()
    assert cluster.run(pipeline).named("cached") == {"Make", "Show"}
    assert cluster.run(pipeline, {"number": 7}).named("cached") == set()


def test_failed_execution_is_not_cached(cluster: Cluster, tmp_path: Path) -> None:
    pipeline = _pipeline(tmp_path / "p.yaml", Make=_task("sys.exit(1)", caching=True))
    for _ in range(2):
        assert len(cluster.run(pipeline).tasks["Make"].attempts) == 1


def test_new_id_of_an_input_invalidates_the_cache(cluster: Cluster, tmp_path: Path) -> None:
    pipeline = _pipeline(tmp_path / "p.yaml", Make=_task(_MAKE), Show=_task(_SHOW, caching=True))
    cluster.run(pipeline)
    assert cluster.run(pipeline).named("succeeded") == {"Make", "Show"}


@pytest.mark.parametrize("passed", [True, False])
def test_condition_decides_whether_a_task_runs(cluster: Cluster, tmp_path: Path, passed: bool) -> None:
    make = _task(f"{_MAKE}\nsay_of_made(metadata={{'passed': {passed}}})")
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=make, Gated=_task(_MAKE, condition=_CONDITION)))
    assert run.succeeded
    assert run.tasks["Gated"].state == ("succeeded" if passed else "skipped")


def test_dependent_of_a_skipped_task_is_omitted(cluster: Cluster, tmp_path: Path) -> None:
    make = _task(f"{_MAKE}\nsay_of_made(metadata={{'passed': False}})")
    after = _task(_MAKE)
    after["task"]["dependentTasks"] = ["Gated"]
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=make, Gated=_task(_MAKE, condition=_CONDITION), After=after))
    assert run.succeeded
    assert run.tasks["After"].state == "omitted"


@pytest.mark.parametrize("condition", [_CONDITION.replace("==", "!="), f"{_CONDITION} || true"])
def test_condition_of_another_form_is_refused(cluster: Cluster, tmp_path: Path, condition: str) -> None:
    gated = _task(_MAKE, condition=condition)
    with pytest.raises(NotEmulatedError, match="the condition"):
        cluster.run(_pipeline(tmp_path / "p.yaml", Make=_task(_MAKE), Gated=gated))


def test_condition_on_a_missing_property_fails(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=_task(_MAKE), Gated=_task(_MAKE, condition=_CONDITION)))
    assert run.tasks["Gated"].failure == "evaluation error: no such key, or no number: passed"


def test_argument_too_long_for_linux_fails(cluster: Cluster, tmp_path: Path) -> None:
    task = _task(_MAKE)
    task["container"]["args"].append("x" * 131_072)
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=task))
    assert run.tasks["Make"].failure == "Make: argument list too long: 131073 bytes in one item, at most 131072"


@pytest.mark.parametrize(
    ("given", "message"),
    [({"numbr": 1}, r"unknown input parameters \['numbr'\]"), ({"number": "6"}, "'number' type mismatch: .* string")],
)
def test_wrong_parameters_are_refused(cluster: Cluster, tmp_path: Path, given: dict[str, Any], message: str) -> None:
    pipeline = _pipeline(tmp_path / "p.yaml", Make=_task(_MAKE))
    with pytest.raises(ContractError, match=message):
        cluster.run(pipeline, given)


def test_metadata_has_the_types_and_properties_of_kubeflow(cluster: Cluster, tmp_path: Path) -> None:
    make = _task(f"{_MAKE}\nsay_of_made(metadata={{'passed': False}})", caching=True)
    pipeline = _pipeline(tmp_path / "p.yaml", Make=make, Gated=_task(_MAKE, condition=_CONDITION))
    first, second = cluster.run(pipeline), cluster.run(pipeline)
    states = {name: state for name, (state, _) in cluster.metadata.tasks(second.run_id).items()}
    assert states == {"Make": "cached", "Gated": "skipped"} == {name: task.state for name, task in second.tasks.items()}
    assert cluster.metadata.tasks(second.run_id)["Make"][1] == second.tasks["Make"].outputs
    assert second.output("Make", "made").artifact_id == first.output("Make", "made").artifact_id
    execution = second.tasks["Make"].execution
    assert execution is not None
    record = cluster.metadata.execution(execution.execution_id)
    assert record.type == "system.ContainerExecution"
    values = {name: getattr(value, value.WhichOneof("value")) for name, value in record.custom_properties.items()}
    assert len(values.pop("cache_fingerprint")) == 64
    assert json_format.MessageToDict(values.pop("inputs")) == {"number": 6, "text": "6"}
    assert values == {
        "display_name": "Make",
        "task_name": "Make",
        "parent_dag_id": 4,
        "cached_execution_id": "2",
        **dict.fromkeys(("pod_name", "pod_uid", "namespace", "image"), ""),
    }


def test_process_uses_this_interpreter_without_the_callers_environment(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITS_PROFILE", "smoke")
    variables = "[os.environ.get(name) for name in ('DIGITS_PROFILE', 'KFP_RETRY_INDEX')]"
    program = f"print('RESULT', json.dumps([sys.executable, {variables}, os.listdir()]))"
    run = cluster.run(_pipeline(tmp_path / "p.yaml", Make=_task(program)))
    assert _result(run, "Make") == [sys.executable, [None, None], []]
