"""Deploys a compiled pipeline to Kubeflow Pipelines: uploads it, then starts a run or creates a schedule."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim, CronSimError

from pipeline.kubeflow.compile.compiled_pipeline import CompiledPipeline
from pipeline.kubeflow.compile.parameters import Value, WrongDeploymentError
from pipeline.kubeflow.deploy.client import KubeflowClient, KubeflowError

_CRON_WORDS = {
    "@hourly": "0 0 * * * *",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@weekly": "0 0 0 * * 0",
    "@monthly": "0 0 0 1 * *",
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
}


@dataclass(frozen=True)
class Deployment:
    """The result of a deployment.

    Attributes:
        pipeline: The compiled pipeline.
        experiment: Name of the experiment.
        cron: The schedule, six fields; None if a run was started.
        is_new_version: Whether the pipeline was uploaded, because the server did not have this version.
        id: Id of the run or of the recurring run.
        link: Address of the run or of the recurring run in the UI.
        replaced: When the replaced schedules were created.
    """

    pipeline: CompiledPipeline
    experiment: str
    cron: str | None
    is_new_version: bool
    id: str
    link: str
    replaced: tuple[datetime, ...] = ()


def deploy(
    client: KubeflowClient,
    compiled: CompiledPipeline,
    arguments: Mapping[str, Value],
    experiment: str,
    cron: str | None = None,
) -> Deployment:
    """Uploads the pipeline if the server does not have this version, and starts a run or creates a schedule.

    Everything is checked before the first change. A schedule replaces those of the same pipeline in the same
    experiment: two would push each model twice.

    Args:
        client: Connected to the server.
        compiled: The pipeline.
        arguments: Values of parameters; others keep their defaults.
        experiment: Name of the experiment, which is created if it does not exist.
        cron: The schedule as `kubeflow_cron` returns it; None to start a run now.

    Raises:
        KubeflowError: The server refuses, or one of the names is in use for something else.
    """
    pipeline = client.find("pipelines", compiled.name)
    version = None
    if pipeline is not None and (newest := client.find_version(pipeline["pipeline_id"])) is not None:
        _check_same_pipeline(client, compiled, newest)
        version = client.find_version(pipeline["pipeline_id"], compiled.version)
    found = client.find("experiments", experiment)
    if found is not None and found.get("storage_state") == "ARCHIVED":
        raise KubeflowError(
            f"{client.host}: the experiment {experiment} is archived; restore it in the UI, or set another with "
            "--experiment."
        )
    schedules: list[dict[str, Any]] = []
    if cron is not None and pipeline is not None and found is not None:
        schedules = [
            each
            for each in client.find_recurring_runs(found["experiment_id"], compiled.name)
            if each.get("pipeline_version_reference", {}).get("pipeline_id") == pipeline["pipeline_id"]
        ]
    uploaded = version or _upload(client, compiled, pipeline)
    values = {
        "experiment_id": (found or client.create("experiments", experiment))["experiment_id"],
        "pipeline_version_reference": {key: uploaded[key] for key in ("pipeline_id", "pipeline_version_id")},
        "runtime_config": {"parameters": dict(arguments)},
    }
    started_id, link = _start(client, compiled.name, cron, values)
    for schedule in schedules:
        client.delete_recurring_run(schedule["recurring_run_id"])
    return Deployment(
        pipeline=compiled,
        experiment=experiment,
        cron=cron,
        is_new_version=version is None,
        id=started_id,
        link=link,
        replaced=tuple(datetime.fromisoformat(schedule["created_at"]) for schedule in schedules),
    )


def kubeflow_cron(schedule: str) -> str:
    """Returns a schedule as the six fields, seconds first, that Kubeflow Pipelines expects.

    KFP reads five fields as six without the last: `0 2 * * *` would start a run at two minutes past each hour.

    Args:
        schedule: Five fields as in crontab, six with seconds first, or a word such as `@daily`.

    Raises:
        WrongDeploymentError: The schedule is not valid or never starts a run.
    """
    fields = _CRON_WORDS.get(schedule.strip(), schedule).split()
    cron = " ".join(["0", *fields] if len(fields) == 5 else fields)
    try:
        if next(_simulate(cron), None) is None:
            raise CronSimError("it never starts a run")
        # cronsim accepts more than KFP, which does not support L or #, nor 7 for Sunday.
        if "L" in fields[-3].upper() or re.search(r"[7#]|\dL", fields[-1].upper()):
            raise CronSimError("Kubeflow Pipelines does not support L or #, and Sunday is 0")
    except CronSimError as error:
        raise WrongDeploymentError(
            f"schedule {schedule!r}: {error}; expected minute, hour, day of the month, month and day of the week, such "
            f"as '0 2 * * 1-5', optionally seconds before them, or one of {', '.join(_CRON_WORDS)}."
        ) from error
    return cron


def describe_cron(cron: str) -> str:
    """Describes a six-field schedule in words, such as `At 02:00 every day`."""
    return _simulate(cron).explain()


def _simulate(cron: str) -> CronSim:
    return CronSim(cron.replace("?", "*"), datetime.now(UTC))


def _check_same_pipeline(client: KubeflowClient, compiled: CompiledPipeline, newest: Mapping[str, Any]) -> None:
    # With a platform document, the API returns each document under its own key.
    spec = newest.get("pipeline_spec", {})
    steps = set(spec.get("pipeline_spec", spec).get("root", {}).get("dag", {}).get("tasks", {}))
    if steps and not steps & set(compiled.steps):
        raise KubeflowError(
            f"{client.host}: there is another pipeline with the name {compiled.name}, with other steps: "
            f"{', '.join(sorted(steps))}; choose another name with --set name=…, or delete that pipeline in the UI."
        )


def _upload(client: KubeflowClient, compiled: CompiledPipeline, pipeline: Mapping[str, Any] | None) -> dict[str, Any]:
    pipeline_id = (pipeline or client.create("pipelines", compiled.name))["pipeline_id"]
    try:
        return client.upload_version(pipeline_id, compiled.version, compiled.content)
    except KubeflowError:
        if pipeline is None:
            client.delete_pipeline(pipeline_id)
        raise


def _start(client: KubeflowClient, name: str, cron: str | None, values: dict[str, Any]) -> tuple[str, str]:
    if cron is None:
        run = client.create_run({**values, "display_name": f"{name} {datetime.now():%Y-%m-%d %H:%M:%S}"})
        return run["run_id"], f"{client.host}/#/runs/details/{run['run_id']}"
    schedule = client.create_recurring_run(
        {
            **values,
            "display_name": name,
            "trigger": {"cron_schedule": {"cron": cron}},
            "mode": "ENABLE",
            # A run reads the newest data: concurrent runs, or one for each missed time, would do the same work.
            "max_concurrency": 1,
            "no_catchup": True,
        }
    )
    started_id = schedule["recurring_run_id"]
    return started_id, f"{client.host}/#/recurringrun/details/{started_id}"
