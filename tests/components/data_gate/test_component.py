import json
from pathlib import Path

import pytest
from tfx.types import Channel
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema

from components.data_gate.component import DataGate
from components.data_gate.driver import Driver
from components.data_gate.executor import Executor
from components.data_gate.limits import DataLimits
from components.verdict_artifact import VerdictArtifact


@pytest.fixture
def data_gate() -> DataGate:
    return DataGate(
        statistics=Channel(type=ExampleStatistics),
        schema=Channel(type=Schema),
        anomalies=Channel(type=ExampleAnomalies),
        limits=DataLimits(min_ink=200),
        serving_directory=Path("serving/digits"),
    )


def test_exec_properties_are_all_that_the_cache_may_depend_on(data_gate: DataGate) -> None:
    assert json.loads(data_gate.exec_properties.pop("limits")) == DataLimits(min_ink=200).model_dump()
    assert data_gate.exec_properties == {
        "serving_directory": "serving/digits",
        "baseline": "",
    }


def test_inputs_and_outputs(data_gate: DataGate) -> None:
    assert {key: channel.type for key, channel in data_gate.inputs.items()} == {
        "statistics": ExampleStatistics,
        "schema": Schema,
        "anomalies": ExampleAnomalies,
    }
    assert {key: channel.type for key, channel in data_gate.outputs.items()} == {"verdict": VerdictArtifact}


def test_what_runs_it(data_gate: DataGate) -> None:
    assert data_gate.executor_spec.executor_class is Executor
    assert data_gate.driver_class is Driver
