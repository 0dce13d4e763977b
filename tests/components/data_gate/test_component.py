"""The contract of DataGate, and that TFX's launcher and cache see the baseline."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto.metadata_store_pb2 import Execution
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Channel
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema

from components.data_gate.component import DataGate
from components.data_gate.limits import DataLimits
from components.verdict_artifact import VerdictArtifact


def test_contract() -> None:
    inputs = {"statistics": ExampleStatistics, "schema": Schema, "anomalies": ExampleAnomalies}
    step = DataGate(
        **{key: Channel(type=kind) for key, kind in inputs.items()},
        limits=DataLimits(min_ink=200).model_dump_json(),
        serving_directory="serving/digits",
    )
    assert {key: channel.type for key, channel in step.inputs.items()} == inputs
    assert {key: channel.type for key, channel in step.outputs.items()} == {"verdict": VerdictArtifact}
    assert json.loads(step.exec_properties.pop("limits")) == DataLimits(min_ink=200).model_dump()
    assert step.exec_properties == {"serving_directory": "serving/digits"}


def imported(folder: Path, key: str, artifact_type: Any) -> Any:
    properties = {} if artifact_type is Schema else {"split_names": '["train", "eval", "test"]'}
    # Without a version, TFX assumes an old layout of the files.
    importer = Importer(
        str(folder / key), artifact_type, properties=properties, custom_properties={"tfx_version": "1.21.0"}
    )
    return importer.with_id(f"import-{key}")


@pytest.fixture
def run_gate(make_inputs: Any, good_statistics: Any, tmp_path: Path) -> Callable[[], tuple[str, int]]:
    """Runs a pipeline of the gate alone; returns the state and the decision of its execution."""
    make_inputs(good_statistics)
    metadata = sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))

    def run() -> tuple[str, int]:
        inputs = {
            "statistics": imported(tmp_path, "statistics", ExampleStatistics),
            "schema": imported(tmp_path, "schema", Schema),
            "anomalies": imported(tmp_path, "anomalies", ExampleAnomalies),
        }
        channels = {key: importer.outputs["result"] for key, importer in inputs.items()}
        gate = DataGate(**channels, limits=DataLimits().model_dump_json(), serving_directory=str(tmp_path / "serving"))
        pipeline = Pipeline(
            pipeline_name="gate",
            pipeline_root=str(tmp_path / "root"),
            components=[*inputs.values(), gate],
            enable_cache=True,
            metadata_connection_config=metadata,
        )
        LocalDagRunner().run(pipeline)
        with Metadata(metadata) as handle:
            execution = max(handle.store.get_executions(), key=lambda one: one.id)
            verdict = max(handle.store.get_artifacts_by_type("digits.Verdict"), key=lambda one: one.id)
        return Execution.State.Name(execution.last_known_state), verdict.custom_properties["passed"].int_value

    return run


def test_the_verdict_is_cached_until_the_baseline_changes(
    run_gate: Callable[[], tuple[str, int]],
    push: Any,
    good_splits: Any,
    good_statistics: Any,
    describe: Any,
) -> None:
    assert run_gate() == ("COMPLETE", 1)
    assert run_gate() == ("CACHED", 1)
    # A push of the same data is not a new baseline.
    push(1, good_statistics["train"])
    assert run_gate() == ("CACHED", 1)
    images, labels = good_splits["eval"]
    push(2, describe(255 - images, labels))
    assert run_gate() == ("COMPLETE", 0)
    assert run_gate() == ("CACHED", 0)
