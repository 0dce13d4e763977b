"""Compares the emulator with the decisions of the real driver, which were recorded in four runs of our pipeline.

`recordings/package.yaml` is the pipeline of these runs. It is older than the present one, so that both sides have the
same input, and no difference between two pipelines is ignored. It was compiled with `--profile smoke --set
kubeflow.serving_claim=serving-folder --set data.num_shards=1`.

`recordings/driver.json` does not contain the outputs of the steps, but the inputs of the steps that consume them. From
these, `Replay` writes the outputs, as the steps did.

Two kinds of values differ in each run, and are not compared literally: UUIDs (IDs of runs, and in URIs) and IDs of
artifacts. Each one of the recordings corresponds to exactly one of the emulator, in all four runs. The metadata of
artifacts, which contain URIs that a step has written, are compared literally.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from tests.kubeflow.emulator.cluster import Cluster, PipelineRun
from tests.kubeflow.emulator.compiled_pipeline import CompiledPipeline
from tests.kubeflow.emulator.contract import LOGS_KEY, to_json
from tests.kubeflow.emulator.launcher import Pod
from tests.kubeflow.emulator.stores import in_directory, path_in_pod

RECORDINGS = Path(__file__).parent / "recordings"
# In the third run, DataGate refuses the data.
PARAMETERS: list[dict[str, Any]] = [{}, {"epochs": 3}, {}, {"epochs": 1, "min_accuracy": 1}]

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# MLMD adds them.
_ADDED_METADATA = ("display_name", "store_session_info")

Json = dict[str, Any]


class Replay:
    """Writes the outputs of the steps of a recorded run."""

    def __init__(self) -> None:
        self.outputs: Mapping[tuple[str, str], Json] = {}

    def run(self, pod: Pod, log: IO[bytes]) -> int:
        executor_input = json.loads(next(word for word in pod.command if word.startswith('{"inputs"')))
        made: Json = {}
        for key, found in executor_input["outputs"]["artifacts"].items():
            if key != LOGS_KEY:
                in_directory(pod.directory, path_in_pod(found["artifacts"][0]["uri"])).touch()
                made[key] = {"artifacts": [{"metadata": self.outputs.get((pod.task, key), {})}]}
        output_file = Path(executor_input["outputs"]["outputFile"]).relative_to("/")
        (pod.directory / output_file).write_text(json.dumps({"artifacts": made}))
        return 0


class Correspondence:
    """Compares values of the recordings with those of the emulator."""

    def __init__(self) -> None:
        self.pairs: dict[str, str] = {}

    def check(self, recorded: Any, emulated: Any, where: str) -> None:
        if isinstance(recorded, dict) and isinstance(emulated, dict):
            assert emulated.keys() == recorded.keys(), where
            for key, value in recorded.items():
                self.check(value, emulated[key], f"{where}.{key}")
        elif isinstance(recorded, list) and isinstance(emulated, list):
            assert len(emulated) == len(recorded), where
            for index, value in enumerate(recorded):
                self.check(value, emulated[index], f"{where}[{index}]")
        elif isinstance(recorded, str) and isinstance(emulated, str):
            assert _UUID.sub("UUID", emulated) == _UUID.sub("UUID", recorded), where
            for pair in zip(_UUID.findall(recorded), _UUID.findall(emulated), strict=True):
                self.pair(*pair, where)
        else:
            assert emulated == recorded, where

    def check_input(self, recorded: Json, emulated: Json, where: str) -> None:
        both = [side["inputs"].get("artifacts", {}) for side in (recorded, emulated)]
        assert both[0].keys() == both[1].keys(), where
        for key in both[0]:
            [one], [other] = (side[key]["artifacts"] for side in both)
            self.pair(f"artifact {one.pop('name')}", f"artifact {other.pop('name')}", f"{where}.{key}")
            assert other.pop("metadata") == one.pop("metadata"), f"{where}.{key}"
        self.check(recorded, emulated, where)

    def pair(self, recorded: str, emulated: str, where: str) -> None:
        assert self.pairs.setdefault(recorded, emulated) == emulated, f"{where}: {recorded}"
        assert len(set(self.pairs.values())) == len(self.pairs), f"{where}: {recorded}"


@pytest.fixture(scope="module")
def recordings() -> list[Json]:
    """The tasks of each recorded run, by lower-case name."""
    return [run["tasks"] for run in json.loads((RECORDINGS / "driver.json").read_text())["runs"]]


@pytest.fixture(scope="module")
def runs(recordings: list[Json], tmp_path_factory: pytest.TempPathFactory) -> list[PipelineRun]:
    """The recorded runs on the emulator."""
    folder = tmp_path_factory.mktemp("recordings")
    package = (RECORDINGS / "package.yaml").read_text()
    (folder / "package.yaml").write_text(package)
    # Compiled with --data /data/inverted.npz --set kubeflow.data_claim=data-folder: nothing else differs.
    claim = {"constant": "data-folder", "pvcNameParameter": {"runtimeValue": {"constant": "data-folder"}}}
    on_volume = package.replace(": data/mnist.npz\n", ": /data/inverted.npz\n").replace(
        "        Pusher_executor:\n          pvcMount:",
        f"        MnistExampleGen_executor:\n          pvcMount: {json.dumps([claim | {'mountPath': '/data'}])}\n"
        "        Pusher_executor:\n          pvcMount:",
    )
    (folder / "on_volume.yaml").write_text(on_volume)
    packages = [CompiledPipeline.load(folder / f"{name}.yaml") for name in ("package", "on_volume")]
    replay = Replay()
    cluster = Cluster(folder / "cluster", replay)
    runs = []
    for number, (tasks, parameters) in enumerate(zip(recordings, PARAMETERS, strict=True)):
        # All steps that would have received the verdict of the third run were skipped.
        replay.outputs = {("DataGate", "verdict"): {"passed": False}, **_outputs(tasks)}
        runs.append(cluster.run(packages[number == 2], parameters))
    return runs


def test_same_tasks_are_triggered_skipped_and_cached(recordings: list[Json], runs: list[PipelineRun]) -> None:
    for tasks, run in zip(recordings, runs, strict=True):
        decided = {
            name.lower(): {
                "condition": "nil" if task.execution.condition is None else str(task.execution.condition).lower(),
                "cached-decision": str(task.execution.is_cached).lower(),
            }
            for name, task in run.tasks.items()
            if task.execution is not None
        }
        assert decided == {name: task["driver"] for name, task in tasks.items() if name != "root"}
        assert {task.state for task in run.tasks.values() if task.execution is None} <= {"omitted"}
        assert run.succeeded


def test_steps_receive_the_same_inputs(recordings: list[Json], runs: list[PipelineRun]) -> None:
    correspondence = Correspondence()
    num_inputs = 0
    for number, (tasks, run) in enumerate(zip(recordings, runs, strict=True)):
        for name, task in run.tasks.items():
            recorded = tasks.get(name.lower(), {}).get("executor_input")
            assert (recorded is not None) == bool(task.attempts), name
            if recorded is not None and task.execution is not None:
                emulated = json.loads(to_json(task.execution.executor_input))
                correspondence.check_input(json.loads(json.dumps(recorded)), emulated, f"run {number}: {name}")
                num_inputs += 1
    assert num_inputs == 13 + 12 + 4 + 12
    assert len([name for name in correspondence.pairs if name.startswith("artifact")]) > 40


def test_pods_have_the_same_volumes_resources_and_environment(recordings: list[Json], runs: list[PipelineRun]) -> None:
    for tasks, run in zip(recordings, runs, strict=True):
        patches = {
            name.lower(): {
                key: task.execution.pod[key] or None for key in ("volumes", "volumeMounts", "resources", "env")
            }
            for name, task in run.tasks.items()
            if task.execution is not None and task.execution.pod
        }
        assert patches == {name: task["pod"] for name, task in tasks.items() if "pod" in task}


def test_metadata_has_the_same_number_of_executions(recordings: list[Json], runs: list[PipelineRun]) -> None:
    """The second and the third recorded run overlapped, so that only the sum of their executions is known."""
    recorded = [int(tasks["root"]["driver"]["execution-id"]) for tasks in recordings]
    executions = [1 + sum(task.execution is not None for task in run.tasks.values()) for run in runs]
    assert recorded[1] - recorded[0] == executions[0]
    assert recorded[3] - recorded[1] == executions[1] + executions[2]


def _outputs(tasks: Json) -> dict[tuple[str, str], Json]:
    """Returns the metadata of the outputs of a run, by task and output, as the steps wrote them."""
    outputs: dict[tuple[str, str], Json] = {}
    for task in tasks.values():
        for found in task.get("executor_input", {}).get("inputs", {}).get("artifacts", {}).values():
            [artifact] = found["artifacts"]
            *_, producer, _, key = artifact["uri"].split("/")
            written = {
                name: value.get("list", value.get("struct")) if isinstance(value, dict) else value
                for name, value in artifact["metadata"].items()
                if name not in _ADDED_METADATA
            }
            assert outputs.setdefault((producer, key), written) == written
    return outputs
