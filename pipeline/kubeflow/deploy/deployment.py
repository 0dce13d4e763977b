"""Puts a compiled pipeline into Kubeflow Pipelines and starts it: everything is checked before anything is written."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.kubeflow.compile.compiled_pipeline import CompiledPipeline, parse_spec
from pipeline.kubeflow.deploy.client import KubeflowClient
from pipeline.kubeflow.deploy.errors import KubeflowError, WrongDeploymentError


@dataclass(frozen=True)
class Request:
    """What is to be deployed, and how it is to be started.

    Attributes:
        pipeline: The compiled pipeline.
        experiment: Name of the experiment; it is made if it is not there.
        arguments: Values of parameters that are not to have their defaults.
        cron: Six fields that say when to start runs; None starts one now.
    """

    pipeline: CompiledPipeline
    experiment: str
    arguments: Mapping[str, str | int | float]
    cron: str | None = None


@dataclass(frozen=True)
class Deployment:
    """What has come of a request.

    Attributes:
        version: Name of the version of the pipeline.
        is_new_version: Whether it was uploaded; otherwise it was there.
        id: Of the run, or of the recurring run.
        link: Where the UI shows it.
        replaced: When the schedules that this one replaces were made.
    """

    version: str
    is_new_version: bool
    id: str
    link: str
    replaced: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class _Found:
    pipeline: Any | None
    version: Any | None
    experiment: Any | None
    schedules: tuple[Any, ...]


def deploy(client: KubeflowClient, request: Request) -> Deployment:
    """Uploads the pipeline, unless this version is there, and starts a run or makes a schedule.

    A schedule replaces those of the same pipeline in the same experiment: what runs twice would push twice.

    Raises:
        KubeflowError: The server refuses, or has something else under one of the names.
    """
    found = _find(client, request)
    pipeline_id, version_id = _upload(client, request.pipeline, found)
    experiment = found.experiment or client.create_experiment(request.experiment)
    values = {
        "experiment_id": experiment.experiment_id,
        "pipeline_version_reference": {"pipeline_id": pipeline_id, "pipeline_version_id": version_id},
        "runtime_config": {"parameters": dict(request.arguments)},
    }
    started_id, link = _start(client, request, values)
    for schedule in found.schedules:
        client.delete_recurring_run(schedule.recurring_run_id)
    return Deployment(
        version=request.pipeline.version,
        is_new_version=found.version is None,
        id=started_id,
        link=link,
        replaced=tuple(schedule.created_at for schedule in found.schedules),
    )


def _find(client: KubeflowClient, request: Request) -> _Found:
    compiled = request.pipeline
    pipeline = client.find_pipeline(compiled.name)
    version = None
    if pipeline is not None:
        newest = client.find_version(pipeline.pipeline_id)
        _check_same_pipeline(client, compiled, newest)
        version = newest and client.find_version(pipeline.pipeline_id, compiled.version)
        _check_same_content(client, compiled, version)
    experiment = client.find_experiment(request.experiment)
    if experiment is not None and experiment.storage_state == "ARCHIVED":
        raise KubeflowError(
            f"{client.host}: the experiment {request.experiment} is archived; restore it in the UI, or name another "
            "with --experiment."
        )
    schedules = []
    if request.cron is not None and pipeline is not None and experiment is not None:
        schedules = [
            each
            for each in client.find_recurring_runs(experiment.experiment_id, compiled.name)
            if each.pipeline_version_reference and each.pipeline_version_reference.pipeline_id == pipeline.pipeline_id
        ]
    return _Found(pipeline, version, experiment, tuple(schedules))


def _check_same_pipeline(client: KubeflowClient, compiled: CompiledPipeline, newest: Any | None) -> None:
    theirs = None if newest is None else _spec_of(newest)
    if theirs is not None and not set(theirs.root.dag.tasks) & set(compiled.steps):
        raise KubeflowError(
            f"{client.host}: there is another pipeline of the name {compiled.name}, none of whose steps "
            f"({', '.join(sorted(theirs.root.dag.tasks))}) is one of this; choose another name, --set name=…, or "
            "delete it in the UI."
        )


def _check_same_content(client: KubeflowClient, compiled: CompiledPipeline, version: Any | None) -> None:
    theirs = None if version is None else _spec_of(version)
    if theirs is not None and theirs != compiled.spec:
        raise KubeflowError(
            f"{client.host}: the pipeline {compiled.name} has a version {compiled.version} of other content, which "
            "`digits deploy` cannot have uploaded; delete it in the UI."
        )


def _spec_of(version: Any) -> Any | None:
    values = version.pipeline_spec
    if not values:
        return None
    # With a platform document the API puts both below keys of their own.
    try:
        return parse_spec(values.get("pipeline_spec", values), str(version.display_name))
    except WrongDeploymentError:
        return None


def _upload(client: KubeflowClient, compiled: CompiledPipeline, found: _Found) -> tuple[str, str]:
    if found.pipeline is not None and found.version is not None:
        return found.pipeline.pipeline_id, found.version.pipeline_version_id
    pipeline = found.pipeline or client.create_pipeline(compiled.name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_bytes(compiled.content)
        try:
            version = client.upload_version(pipeline.pipeline_id, compiled.version, file)
        except KubeflowError:
            if found.pipeline is None:
                client.delete_pipeline(pipeline.pipeline_id)
            raise
    return pipeline.pipeline_id, version.pipeline_version_id


def _start(client: KubeflowClient, request: Request, values: Mapping[str, Any]) -> tuple[str, str]:
    name = request.pipeline.name
    if request.cron is None:
        run = client.create_run({**values, "display_name": f"{name} {datetime.now():%Y-%m-%d %H:%M:%S}"})
        return run.run_id, client.run_link(run.run_id)
    schedule = client.create_recurring_run(
        {
            **values,
            "display_name": name,
            "trigger": {"cron_schedule": {"cron": request.cron}},
            "mode": "ENABLE",
            # The newest data is what a run is for: two at a time, or one for each that was missed, would do the same.
            "max_concurrency": 1,
            "no_catchup": True,
        }
    )
    return schedule.recurring_run_id, client.recurring_run_link(schedule.recurring_run_id)
