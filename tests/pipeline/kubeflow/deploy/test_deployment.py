"""`digits deploy` against a server with KFP's REST API."""

import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from pipeline.kubeflow.compile.parameters import WrongDeploymentError
from pipeline.kubeflow.deploy.deployment import kubeflow_cron

Json = dict[str, Any]
Deploy = Callable[..., Result]

NEW_RUN = ["POST /pipelines", "POST /pipelines/upload_version", "POST /experiments", "POST /runs"]


def task(name: str, state: str) -> Json:
    times = {"start_time": "2026-01-02T10:00:00Z", "end_time": "2026-01-02T10:01:00Z"}
    return {"display_name": name, "state": state, **times}


def ended(state: str, *tasks: Json) -> Json:
    return {"state": state, "run_details": {"task_details": list(tasks)}}


def test_a_run_is_started(kubeflow: Any, deploy: Deploy, compiled_file: Path) -> None:
    result = deploy("--experiment", "Winter", "--param", "epochs=3", "--param", "min_accuracy=0.9")
    version = hashlib.sha256(compiled_file.read_bytes()).hexdigest()[:12]
    (run,) = kubeflow.runs
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        f"Pipeline       digits, version {version}: uploaded",
        "Experiment     Winter",
        f"Run            {kubeflow.url}/#/runs/details/{run['run_id']}",
    ]
    assert kubeflow.writes == NEW_RUN
    assert [each["display_name"] for each in (*kubeflow.pipelines, *kubeflow.versions, *kubeflow.experiments)] == [
        "digits",
        version,
        "Winter",
    ]
    # Unchanged: the SDK's `enable_caching` would have changed each step.
    spec, platform = yaml.safe_load_all(compiled_file.read_text())
    assert kubeflow.versions[0]["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}
    assert run["runtime_config"] == {"parameters": {"epochs": 3, "min_accuracy": 0.9}}
    assert re.fullmatch(r"digits 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", run["display_name"])


def test_the_sdk_accepts_the_server_and_finds_the_pipeline(
    kubeflow: Any, deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server that KFP's own SDK accepts is realistic enough for the other tests.
    from kfp.client import Client

    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    deploy("--schedule", "@daily")
    client = Client(host=kubeflow.url)
    pipeline_id = client.get_pipeline_id("digits")
    experiment = client.create_experiment("digits")
    (version,) = client.list_pipeline_versions(pipeline_id).pipeline_versions
    (schedule,) = client.list_recurring_runs(experiment_id=experiment.experiment_id).recurring_runs
    assert schedule.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    run = client.run_pipeline(
        experiment.experiment_id,
        "again",
        params={"epochs": 1},
        pipeline_id=pipeline_id,
        version_id=version.pipeline_version_id,
    )
    assert client.get_run(run.run_id).state == "PENDING"
    assert (len(kubeflow.experiments), len(kubeflow.runs)) == (1, 1)


def test_the_same_content_is_uploaded_once(kubeflow: Any, deploy: Deploy, compiled_file: Path) -> None:
    deploy()
    again = deploy()
    assert (again.exit_code, kubeflow.writes) == (0, [*NEW_RUN, "POST /runs"])
    assert again.output.splitlines()[0].endswith(": already there")
    compiled_file.write_text(compiled_file.read_text().replace("defaultValue: 8", "defaultValue: 9"))
    changed = deploy()
    assert changed.output.splitlines()[0].endswith(": uploaded")
    assert kubeflow.writes[5:] == ["POST /pipelines/upload_version", "POST /runs"]
    assert (len(kubeflow.pipelines), len(kubeflow.versions), len(kubeflow.runs)) == (1, 2, 3)
    used = [run["pipeline_version_reference"]["pipeline_version_id"] for run in kubeflow.runs]
    assert used[0] == used[1] != used[2] == kubeflow.versions[1]["pipeline_version_id"]


def test_settings_are_compiled_after_the_server_has_responded(
    kubeflow: Any, compiled_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def compile_pipeline(settings: Any, target: str) -> str:
        seen.append((settings.kubeflow.image, settings.profile, settings.trainer.epochs, target, kubeflow.requests[:]))
        return compiled_file.read_text()

    # The real one imports TFX for half a minute.
    monkeypatch.setitem(
        sys.modules, "pipeline.kubeflow.compile.compiler", SimpleNamespace(compile_pipeline=compile_pipeline)
    )
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    options = ["--image", "registry.example.com/digits:2", "--profile", "fast", "--set", "trainer.epochs=3"]
    for host in ("http://127.0.0.1:1", kubeflow.url):
        result = CliRunner().invoke(main, ["deploy", "--host", host, *options, "--param", "epochs=2"])
    assert result.exit_code == 0, result.output
    assert seen == [("registry.example.com/digits:2", "fast", 3, "kfp", [("GET", "/healthz", {})])]
    assert kubeflow.runs[0]["runtime_config"] == {"parameters": {"epochs": 2}}


def test_a_schedule_replaces_the_one_of_the_same_pipeline(kubeflow: Any, deploy: Deploy) -> None:
    first = deploy("--schedule", "0 2 * * 1-5", "--json")
    foreign = {**kubeflow.recurring_runs[0], "recurring_run_id": "foreign"}
    foreign["pipeline_version_reference"] = {"pipeline_id": "other", "pipeline_version_id": "other"}
    kubeflow.recurring_runs.insert(0, foreign)
    # The schedule to replace is on the second page.
    kubeflow.page_size = 1
    second = deploy("--schedule", "@daily", "--param", "epochs=3")
    old, new = json.loads(first.stdout)["recurring_run_id"], kubeflow.recurring_runs[-1]
    assert [each["recurring_run_id"] for each in kubeflow.recurring_runs] == ["foreign", new["recurring_run_id"]]
    assert json.loads(first.stdout)["schedule"] == "0 0 2 * * 1-5"
    assert new["trigger"] == {"cron_schedule": {"cron": "0 0 0 * * *"}}
    assert (new["mode"], new["max_concurrency"], new["no_catchup"]) == ("ENABLE", 1, True)
    assert new["runtime_config"] == {"parameters": {"epochs": 3}}
    assert kubeflow.writes[-2:] == ["POST /recurringruns", f"DELETE /recurringruns/{old}"]
    assert kubeflow.requests[-1][2] == {"propagation_policy": "ORPHAN"}
    assert kubeflow.runs == []
    lines = second.output.splitlines()
    assert lines[2] == ("Schedule       0 0 0 * * *: At 00:00 every day (UTC, unless the API server is set otherwise)")
    assert lines[3].startswith("               replaces the schedule of 20")
    assert lines[4] == f"Recurring run  {kubeflow.url}/#/recurringrun/details/{new['recurring_run_id']}"


@pytest.mark.parametrize(
    "run",
    [
        ended("SUCCEEDED", *(task(name, "SUCCEEDED") for name in ("DataGate", "Trainer", "Pusher"))),
        # The API may not return the steps of a run; this is not a refusal.
        {"state": "SUCCEEDED"},
    ],
)
def test_wait_for_a_run_that_succeeds(kubeflow: Any, deploy: Deploy, run: Json) -> None:
    kubeflow.run_states = [{"state": "PENDING"}, run]
    result = deploy("--wait")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == (
        "Gates          the API does not return their decisions; see the output of Pusher in the UI"
    )


def test_wait_for_a_run_that_a_gate_refuses(kubeflow: Any, deploy: Deploy) -> None:
    # Steps that Argo omits have no state.
    tasks = (task("DataGate", "SUCCEEDED"), task("Trainer", "SKIPPED"), {"display_name": "Pusher"})
    kubeflow.run_states = [ended("SUCCEEDED", *tasks)]
    result = deploy("--wait", "--json")
    assert result.exit_code == 3, result.output
    assert result.stderr.splitlines()[4:] == [
        "- Trainer             not run",
        "- Pusher              not run",
        "Gates          refused by DataGate; nothing was pushed. Its log says why",
    ]
    values = json.loads(result.stdout)
    assert (values["state"], values["failed"], values["not_run"]) == ("SUCCEEDED", [], ["Trainer", "Pusher"])
    assert values["link"].endswith(values["run_id"])


def test_wait_for_a_run_that_fails(kubeflow: Any, deploy: Deploy) -> None:
    kubeflow.run_states = [ended("FAILED", task("DataGate", "SUCCEEDED"), task("Trainer", "FAILED"))]
    result = deploy("--wait")
    run_id = kubeflow.runs[0]["run_id"]
    assert result.exit_code == 1
    assert "✗ Trainer              60.0 s  failed" in result.stdout
    assert result.stderr == (
        f"Error: the run ended as FAILED in Trainer: {kubeflow.url}/#/runs/details/{run_id}. Logs: kubectl logs "
        f"--namespace kubeflow --selector pipeline/runid={run_id} --container main --tail 20 --prefix\n"
    )


@pytest.mark.parametrize(
    ("schedule", "cron"),
    [
        ("0 2 * * *", "0 0 2 * * *"),
        ("*/15 8-17 1,15 JAN-mar mon-FRI", "0 */15 8-17 1,15 JAN-mar mon-FRI"),
        ("30 0 2 * * ?", "30 0 2 * * ?"),
        (" @weekly ", "0 0 0 * * 0"),
        ("5/10 * * * 0,6", "0 5/10 * * * 0,6"),
        ("0 2 29 2 *", "0 0 2 29 2 *"),
        ("0 2 30 2 MON", "0 0 2 30 2 MON"),
    ],
)
def test_schedules_become_six_fields(schedule: str, cron: str) -> None:
    assert kubeflow_cron(schedule) == cron


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("0 2 * *", "Wrong number of fields; expected minute, hour, day of the month, month and day of the week, such"),
        ("", "Wrong number of fields"),
        ("@reboot", "or one of @hourly, @daily"),
        ("60 * * * *", "Bad minute"),
        ("60 0 2 * * *", "Bad second"),
        ("5-1 * * * *", "Bad minute"),
        ("*/0 * * * *", "Bad minute"),
        ("0 2 30 2 *", "Bad day-of-month"),
        ("0 2 31 2,4,JUN ?", "Bad day-of-month"),
        ("0 2 L * *", "Kubeflow Pipelines does not support L or #, and Sunday is 0"),
        ("0 2 * * 7", "Kubeflow Pipelines does not support L or #, and Sunday is 0"),
        ("0 2 * * MON#1", "Kubeflow Pipelines does not support L or #, and Sunday is 0"),
    ],
)
def test_schedules_that_are_wrong_or_never_start(schedule: str, message: str) -> None:
    with pytest.raises(WrongDeploymentError, match=message):
        kubeflow_cron(schedule)
