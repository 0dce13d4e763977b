"""Deploys the smoke pipeline three times to a real Kubeflow Pipelines, as a user does; see CONTRIBUTING.md.

The REST API returns neither cache hits nor metadata of artifacts, so the test reads them from ML Metadata.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from tests.kubeflow.emulator.metadata import Metadata, State, StoredArtifact
from tests.kubeflow.scenarios import GATES

PROJECT_ROOT = Path(__file__).parents[2]
VARIABLES = {"DIGITS_KFP_HOST": "--host", "DIGITS_KFP_NAMESPACE": "--namespace", "DIGITS_KFP_IMAGE": "--image"}
OPTIONS = [f"{option}={os.environ[name]}" for name, option in VARIABLES.items() if os.environ.get(name)]
METADATA = os.environ.get("DIGITS_KFP_METADATA", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (os.environ.get("DIGITS_KFP_HOST") and METADATA),
        reason="needs a cluster: set DIGITS_KFP_HOST to the address of Kubeflow Pipelines, and DIGITS_KFP_METADATA to "
        "that of its metadata-grpc-service, such as localhost:8081; optionally DIGITS_KFP_NAMESPACE, DIGITS_KFP_IMAGE, "
        "and KFP_TOKEN",
    ),
]

Tasks = dict[str, tuple[State, dict[str, StoredArtifact]]]


@pytest.fixture(scope="module")
def deploy() -> Callable[..., Tasks]:
    """Runs `digits deploy --wait`, and returns the tasks of the run."""
    host, _, port = METADATA.partition(":")
    metadata = Metadata(MetadataStore(metadata_store_pb2.MetadataStoreClientConfig(host=host, port=int(port))))
    # `digits` refuses variables with its prefix that are not settings.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_KFP_")}

    def run(*arguments: str) -> Tasks:
        command = [sys.executable, "-m", "pipeline.cli.main", "deploy", *OPTIONS, "--config", os.devnull]
        process = subprocess.run(
            [*command, "--profile", "smoke", "--wait", "--json", *arguments],
            cwd=PROJECT_ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        result: dict[str, Any] = json.loads(process.stdout)
        # DataReport runs only if DataGate refuses.
        assert (result["state"], result["failed"], result["not_run"]) == ("SUCCEEDED", [], ["DataReport"])
        return metadata.tasks(result["run_id"])

    return run


@pytest.fixture(scope="module")
def first_run(deploy: Callable[..., Tasks]) -> Tasks:
    return deploy()


@pytest.fixture(scope="module")
def second_run(deploy: Callable[..., Tasks], first_run: Tasks) -> Tasks:
    return deploy()


@pytest.fixture(scope="module")
def refused_run(deploy: Callable[..., Tasks], second_run: Tasks) -> Tasks:
    return deploy("--param", "min_accuracy=1")


def test_first_run_pushes_a_version(first_run: Tasks) -> None:
    assert _properties(first_run, "Pusher", "pushed_model")["pushed"] == 1


def test_second_run_compares_with_the_version_of_the_first(first_run: Tasks, second_run: Tasks) -> None:
    baseline = _properties(second_run, "BaselineModel", "baseline_model")
    assert baseline["version"] == _properties(first_run, "Pusher", "pushed_model")["pushed_version"]
    assert _properties(second_run, "Pusher", "pushed_model")["pushed"] == 1


def test_new_examples_make_every_step_run_again(first_run: Tasks, second_run: Tasks) -> None:
    for run in (first_run, second_run):
        assert {name: state for name, (state, _) in run.items()} == dict.fromkeys(run, "succeeded")
        assert GATES | {"ImportSchemaGen", "MnistExampleGen", "StatisticsGen", "Trainer", "Pusher"} < run.keys()


def test_refused_model_is_not_pushed(refused_run: Tasks) -> None:
    passed = {gate: _properties(refused_run, gate, "verdict")["passed"] for gate in ("DataGate", "Evaluator")}
    assert passed == {"DataGate": 1, "Evaluator": 0}
    assert _properties(refused_run, "Pusher", "pushed_model")["pushed"] == 0


def _properties(run: Tasks, task: str, key: str) -> dict[str, Any]:
    return run[task][1][key].properties
