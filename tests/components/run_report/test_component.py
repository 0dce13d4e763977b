"""The step as TFX runs it, without a pipeline."""

import json
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.orchestration import metadata
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import Channel

from components.run_report import component
from components.run_report.collection import INPUTS
from components.run_report.component import Driver, Executor, ReportArtifact, RunReport
from components.run_report.report import ChangedSetting, Report, StepCost
from tests.support.run_artifacts import make_artifacts

SETTINGS, DEFAULTS = {"trainer": {"epochs": 1, "seed": 0}}, {"trainer": {"epochs": 7, "seed": 0}}
TRIALS = [{"learning_rate": 0.01, "eval_loss": 0.5}]
STEPS = [{"name": "Trainer", "seconds": 2.5, "peak_bytes": 1000}]


def run_step(tmp_path: Path, inputs: dict[str, Any]) -> Report:
    report = ReportArtifact()
    report.uri = str(tmp_path / "report")
    Path(report.uri).mkdir()
    contents = {"settings": SETTINGS, "default_settings": DEFAULTS, "trials": TRIALS, "steps": STEPS}
    properties = {"model_name": "digits", **{key: json.dumps(content) for key, content in contents.items()}}
    context = BaseExecutor.Context(tmp_dir=str(tmp_path), unique_id="1", pipeline_run_id="2026-01-02")
    Executor(context).Do(inputs, {"report": [report]}, properties)
    return Report.model_validate_json(Path(report.uri, "report.json").read_bytes())


def test_the_step_writes_the_report_as_a_page_and_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "render_html", lambda report: f"<p>{report.run_id}")
    report = run_step(tmp_path, {key: [artifact] for key, artifact in make_artifacts(tmp_path).items()})
    assert (report.model, report.run_id, report.outcome, report.version) == ("digits", "2026-01-02", "pushed", 17)
    assert report.missing == ()
    assert report.settings == (ChangedSetting(name="trainer.epochs", value=1, default=7),)
    assert list(report.trials) == TRIALS
    assert report.steps == (StepCost(**STEPS[0]),)
    assert "tfx" in report.packages
    assert (tmp_path / "report" / "report.html").read_text() == "<p>2026-01-02"


def test_inputs_that_do_not_exist_are_left_out(tmp_path: Path) -> None:
    artifacts = make_artifacts(tmp_path)
    report = run_step(tmp_path, {"schema": [artifacts["schema"]], "data_verdict": [artifacts["data_verdict"]]})
    assert (report.outcome, [gate.name for gate in report.gates]) == ("refused", ["DataGate"])


def test_every_input_is_optional() -> None:
    step = RunReport("digits", SETTINGS, DEFAULTS, TRIALS, schema=Channel(type=INPUTS["schema"].type))
    assert set(step.inputs) == {"schema"}
    assert step.exec_properties == {
        "model_name": "digits",
        "settings": json.dumps(SETTINGS),
        "default_settings": json.dumps(DEFAULTS),
        "trials": json.dumps(TRIALS),
        "steps": "[]",
    }


def test_the_driver_adds_the_costs_of_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "read_step_costs", lambda store, run_id: (StepCost(name=run_id, seconds=1.5),))
    handle = metadata.Metadata(sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")))
    output = Driver(handle).run(ExecutionInfo(pipeline_run_id="7"))
    assert json.loads(output.exec_properties["steps"].string_value) == [
        {"name": "7", "seconds": 1.5, "peak_bytes": None}
    ]
