"""The cache sees the baseline: proven with TFX's own launcher and cache."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto.metadata_store_pb2 import Execution
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema

from components.data_gate.component import DataGate
from components.data_gate.driver import Driver
from components.data_gate.limits import DataLimits


def imported(folder: Path, key: str, artifact_type: Any) -> Any:
    properties = {} if artifact_type is Schema else {"split_names": '["train", "eval", "test"]'}
    # TFX takes files of artifacts that do not tell its version to be laid out as they were years ago.
    importer = Importer(
        str(folder / key), artifact_type, properties=properties, custom_properties={"tfx_version": "1.21.0"}
    )
    return importer.with_id(f"import-{key}")


@pytest.fixture
def run_gate(make_inputs: Any, good_statistics: Any, tmp_path: Path) -> Callable[[], tuple[str, int]]:
    """Runs a pipeline of the gate alone; returns how its execution ended, and whether it let the data pass."""
    make_inputs(good_statistics)
    metadata = sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))

    def run() -> tuple[str, int]:
        inputs = {
            "statistics": imported(tmp_path, "statistics", ExampleStatistics),
            "schema": imported(tmp_path, "schema", Schema),
            "anomalies": imported(tmp_path, "anomalies", ExampleAnomalies),
        }
        channels = {key: importer.outputs["result"] for key, importer in inputs.items()}
        gate = DataGate(**channels, limits=DataLimits(), serving_directory=tmp_path / "serving")
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


def test_the_answer_is_kept_until_the_baseline_changes(
    run_gate: Callable[[], tuple[str, int]],
    push: Any,
    good_splits: Any,
    good_statistics: Any,
    describe: Any,
) -> None:
    assert run_gate() == ("COMPLETE", 1)
    assert run_gate() == ("CACHED", 1)
    # That this data was pushed changes nothing: it is compared with what came before it.
    push(1, good_statistics["train"])
    assert run_gate() == ("CACHED", 1)
    images, labels = good_splits["eval"]
    push(2, describe(255 - images, labels))
    assert run_gate() == ("COMPLETE", 0)
    assert run_gate() == ("CACHED", 0)


def test_it_sets_nothing_but_the_baseline(push: Any, make_inputs: Any, good_statistics: Any, tmp_path: Path) -> None:
    execution_info = ExecutionInfo(
        input_dict=make_inputs(good_statistics),
        exec_properties={"serving_directory": str(tmp_path / "serving"), "baseline": ""},
    )
    output = Driver(None).run(execution_info)
    assert {key: value.string_value for key, value in output.exec_properties.items()} == {"baseline": ""}
    file = push(1, good_statistics["eval"]) / "assets.extra" / "train_statistics.pb"
    output = Driver(None).run(execution_info)
    assert output.exec_properties["baseline"].string_value == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not output.output_artifacts
