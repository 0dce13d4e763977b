"""Reports of runs that ML Metadata knows, with artifacts on disk."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from ml_metadata.proto.metadata_store_pb2 import Context, Event, Execution
from tfx.types import Artifact

from components.run_report.collection import INPUTS
from components.run_report.component import ReportArtifact
from components.run_report.report import Report
from pipeline.local.metadata import Outcome, UnknownRunError, list_runs, record_outcome
from pipeline.local.reports import find_report, find_reportable_run, find_reported_run, make_report
from pipeline.settings.settings import Settings
from registry.provenance import Origin, installed_software
from registry.publishing import publish, roll_back
from registry.signing import TrustPolicy
from registry.versions import list_versions
from tests.support.run_artifacts import make_artifacts

RUN_ID = "2026-01-02T03:04:05.000006"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(workspace=tmp_path)


def record(
    store: MetadataStore, artifacts: Mapping[str, Artifact], state: int = Execution.COMPLETE, run_id: str = RUN_ID
) -> None:
    """Records each artifact as an output of a step, as TFX does."""
    context_types = [
        store.put_context_type(metadata_store_pb2.ContextType(name=each)) for each in ("pipeline_run", "node")
    ]
    step_type = store.put_execution_type(metadata_store_pb2.ExecutionType(name="tfx.Step"))
    for key, artifact in artifacts.items():
        step, output = (INPUTS[key].step, INPUTS[key].output) if key in INPUTS else ("RunReport", key)
        content = artifact.mlmd_artifact
        content.type_id = store.put_artifact_type(artifact.artifact_type)
        event = Event(type=Event.OUTPUT)
        event.path.steps.add(key=output)
        contexts = [
            Context(type_id=type_id, name=name)
            for type_id, name in zip(context_types, (run_id, f"digits.{step}"), strict=True)
        ]
        execution = Execution(type_id=step_type, last_known_state=state)
        store.put_execution(execution, [(content, event)], contexts, reuse_context_if_already_exist=True)


def made(settings: Settings) -> Report:
    [run] = list_runs(settings.metadata_file)
    folder = make_report(settings, run)
    assert folder == settings.workspace / "reports" / RUN_ID
    assert "<!doctype html>" in (folder / "report.html").read_text()
    return Report.model_validate_json((folder / "report.json").read_bytes())


def test_the_report_of_a_run_is_the_artifact_of_its_last_step(
    store: MetadataStore, settings: Settings, tmp_path: Path
) -> None:
    report = ReportArtifact()
    report.uri = str(tmp_path / "report")
    record(store, {"report": report})
    [run] = list_runs(settings.metadata_file)
    assert find_report(settings, run) is None, "its files are gone"
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").touch()
    assert find_report(settings, run) == tmp_path / "report"


def test_a_run_of_an_earlier_release_has_a_report(store: MetadataStore, settings: Settings, tmp_path: Path) -> None:
    artifacts = make_artifacts(tmp_path)
    (tmp_path / "evaluation" / "predictions-00000-of-00001.parquet").unlink()
    shutil.rmtree(tmp_path / "model_run")
    record(store, artifacts)
    description = {
        "settings": {**settings.model_dump(mode="json"), "trainer": {"epochs": 1, "momentum": 0.9}},
        "software": installed_software().model_dump(mode="json"),
    }
    record_outcome(store, RUN_ID, "unchanged", 0.5, description)
    report = made(settings)
    assert (report.model, report.run_id, report.outcome, report.version) == ("digits", RUN_ID, "pushed", 17)
    assert [(each.name, each.value, each.default) for each in report.settings] == [
        ("trainer.epochs", 1, 7),
        ("trainer.momentum", 0.9, None),
    ]
    assert report.packages["tfx"]
    assert {step.name for step in report.steps} == {each.step for each in INPUTS.values()}
    assert report.data is not None
    assert report.data.uri == "data/mnist.npz"
    assert report.evaluation is not None
    assert [sentence.split(":")[0] for sentence in report.missing] == [
        "No training curves",
        "No confusion matrix, calibration and mistakes",
        "No peak memory of the steps",
    ]


def test_a_failed_run_shows_what_there_is_and_why_it_failed(
    store: MetadataStore, settings: Settings, tmp_path: Path
) -> None:
    artifacts = make_artifacts(tmp_path)
    before = ("schema", "examples", "statistics", "anomalies", "data_verdict")
    record(store, {key: artifacts[key] for key in before})
    record_outcome(store, RUN_ID, "failed", reason="Trainer failed: no memory")
    report = made(settings)
    assert (report.outcome, report.reasons) == ("failed", ("Trainer failed: no memory",))
    assert report.data is not None
    assert "No training curves: Trainer did not complete." in report.missing
    assert "No settings: the run has not ended, or an earlier release did not record them." in report.missing


@pytest.mark.parametrize("outcome", ["failed", "stopped"])
def test_a_failure_without_a_recorded_reason_points_to_the_log(
    store: MetadataStore, settings: Settings, tmp_path: Path, outcome: Outcome
) -> None:
    record(store, {"schema": make_artifacts(tmp_path)["schema"]}, Execution.FAILED)
    [run] = list_runs(settings.metadata_file)
    make_report(settings, replace(run, outcome=outcome))
    report = Report.model_validate_json((tmp_path / "reports" / RUN_ID / "report.json").read_bytes())
    assert report.reasons == (f"ImportSchemaGen did not complete; see {tmp_path / 'logs'}.",)


def test_a_failed_run_has_a_report_if_its_data_is_known(
    store: MetadataStore, settings: Settings, tmp_path: Path
) -> None:
    start, later = datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4, 6)
    assert find_reportable_run(settings, start) is None, "nothing has run"
    artifacts = make_artifacts(tmp_path)
    record(store, {"examples": artifacts["examples"]})
    assert find_reportable_run(settings, start) is None
    record(store, {"statistics": artifacts["statistics"]})
    assert find_reportable_run(settings, start) == list_runs(settings.metadata_file)[0]
    assert find_reportable_run(settings, later) is None, "the run is an earlier one"
    settings.metadata_file.write_text("damaged")
    assert find_reportable_run(settings, start) is None


@pytest.mark.parametrize("outcome", ["tuned", "failed"])
def test_the_trials_are_part_of_a_report_even_if_the_run_failed(
    store: MetadataStore, settings: Settings, tmp_path: Path, outcome: Outcome
) -> None:
    trials = [{"trial": 1, "eval_loss": 0.5}]
    record(store, {"schema": make_artifacts(tmp_path)["schema"]})
    record_outcome(store, RUN_ID, outcome, description={"trials": trials})
    report = made(settings)
    assert (report.outcome, list(report.trials)) == (outcome, trials)


def test_the_newest_run_is_not_a_search(store: MetadataStore, settings: Settings, add_run: Callable[..., None]) -> None:
    add_run(RUN_ID, {"Trainer": Execution.FAILED})
    add_run("2026-01-03", {"Tuner": Execution.RUNNING})
    add_run("2026-01-04", {"Transform": Execution.FAILED})
    record_outcome(store, "2026-01-04", "stopped", description={"is_search": True})
    assert find_reported_run(settings, None).run_id == RUN_ID
    assert find_reported_run(settings, "2026-01-04").is_search


def test_a_version_of_a_rollback_has_the_report_of_the_version_that_it_copies(
    store: MetadataStore, settings: Settings, tmp_path: Path
) -> None:
    record(store, {"pushed_model": make_artifacts(tmp_path)["pushed_model"]})
    model = tmp_path / "model"
    (model / "saved_model.pb").write_text("a")
    for content, run_id in (("a", RUN_ID), ("b", "another workspace")):
        (model / "saved_model.pb").write_text(content)
        publish(model, settings.serving_directory, {}, Origin(pipeline_run=run_id))
    original, other = list_versions(settings.serving_directory)
    copy = roll_back(settings.serving_directory, original.number, TrustPolicy(allow_unverified=True))
    assert find_reported_run(settings, str(copy.number)).run_id == find_reported_run(settings, None).run_id == RUN_ID
    with pytest.raises(UnknownRunError, match="; there are 17, "):
        find_reported_run(settings, str(other.number))
