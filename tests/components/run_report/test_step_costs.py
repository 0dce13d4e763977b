"""Against a real metadata database, with records such as TFX writes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from ml_metadata.proto.metadata_store_pb2 import Context, Event, Execution

from components.run_report.step_costs import read_step_costs
from tests.support.metadata_store import create_store

AddStep = Callable[..., tuple[int, int]]


@pytest.fixture
def store(tmp_path: Path) -> MetadataStore:
    return create_store(tmp_path)


@pytest.fixture
def add_step(store: MetadataStore) -> AddStep:
    """Adds an execution and its output, or with `output` another execution with the same output; returns their IDs."""
    contexts = {
        name: store.put_context_type(metadata_store_pb2.ContextType(name=name)) for name in ("pipeline_run", "node")
    }
    step_type = store.put_execution_type(metadata_store_pb2.ExecutionType(name="tfx.Step"))
    kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Examples"))

    def add(run_id: str, name: str, state: int, peak_bytes: int = 0, output: int | None = None) -> tuple[int, int]:
        artifact = metadata_store_pb2.Artifact(type_id=kind, uri=name)
        if output is not None:
            [artifact] = store.get_artifacts_by_id([output])
        execution = Execution(type_id=step_type, last_known_state=state)
        if peak_bytes:
            execution.custom_properties["peak_bytes"].int_value = peak_bytes
        number, [written], _ = store.put_execution(
            execution,
            [(artifact, Event(type=Event.OUTPUT))],
            [
                Context(type_id=contexts["pipeline_run"], name=run_id),
                Context(type_id=contexts["node"], name=f"digits.{name}"),
            ],
            reuse_context_if_already_exist=True,
        )
        return number, written

    return add


def duration(store: MetadataStore, execution_id: int) -> float:
    [execution] = store.get_executions_by_id([execution_id])
    return (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000


def test_a_cached_step_has_the_costs_of_the_execution_that_wrote_its_output(
    store: MetadataStore, add_step: AddStep
) -> None:
    first, output = add_step("1", "MnistExampleGen", Execution.COMPLETE, peak_bytes=7_000)
    add_step("1", "StatisticsGen", Execution.COMPLETE)
    add_step("1", "Trainer", Execution.FAILED)
    # The time of its last update changes.
    [execution] = store.get_executions_by_id([first])
    store.put_executions([execution])
    costs = read_step_costs(store, "1")
    assert [(cost.name, cost.peak_bytes) for cost in costs] == [("MnistExampleGen", 7_000), ("StatisticsGen", None)]
    assert costs[0].seconds == duration(store, first)

    add_step("2", "MnistExampleGen", Execution.CACHED, peak_bytes=1, output=output)
    add_step("3", "MnistExampleGen", Execution.CACHED, peak_bytes=1, output=output)
    assert read_step_costs(store, "3") == costs[:1]


def test_a_run_without_records_has_no_costs(store: MetadataStore, add_step: AddStep) -> None:
    assert add_step("1", "Trainer", Execution.RUNNING)
    assert read_step_costs(store, "1") == read_step_costs(store, "2") == ()
