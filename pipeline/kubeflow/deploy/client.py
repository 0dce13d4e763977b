"""What `digits deploy` asks of Kubeflow Pipelines, in the terms of its REST API.

`kfp.Client` of the SDK calls the same generated client. It is not used here, because it reads and writes
`~/.config/kfp/context.json`, prints to standard output, and tries for 25 seconds before it says that nobody answers.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.kubeflow.deploy.connection import TIMEOUT, check_health, errors_explained, make_api_client
from pipeline.kubeflow.deploy.errors import KubeflowError, WrongDeploymentError

# The changes: https://github.com/kubeflow/pipelines/pull/11404, /11770 and /11673.
_OLDEST_VERSION = (2, 5)
_EQUALS = 1
"""Filter.Operation of backend/api/v2beta1/filter.proto; the SDK sends the number, too."""


@dataclass(frozen=True)
class KubeflowServer:
    """What a server says of itself."""

    version: str
    is_multi_user: bool


class KubeflowClient:
    """One server of Kubeflow Pipelines, and the namespace in which to work there."""

    def __init__(self, host: str, read_token: Callable[[], str | None], namespace: str | None) -> None:
        """Connects to nothing yet.

        Args:
            host: What `clean_host` returned.
            read_token: Returns the bearer token, or None where there is none.
            namespace: Whose pipelines, where the server has several users.
        """
        import kfp_server_api

        self.host = host
        self.namespace = namespace
        self._api = make_api_client(host, read_token)
        self._pipelines = kfp_server_api.PipelineServiceApi(self._api)
        self._uploads = kfp_server_api.PipelineUploadServiceApi(self._api)
        self._experiments = kfp_server_api.ExperimentServiceApi(self._api)
        self._runs = kfp_server_api.RunServiceApi(self._api)
        self._recurring_runs = kfp_server_api.RecurringRunServiceApi(self._api)

    def connect(self) -> KubeflowServer:
        """Finds out whether this is Kubeflow Pipelines, and whether the namespace fits it.

        Raises:
            KubeflowError: Nobody answers, or somebody else, or it is too old.
            WrongDeploymentError: A namespace is missing, or given where there are none.
        """
        health = check_health(self._api)
        server = KubeflowServer(health["tag_name"], health["multi_user"])
        # Own builds are called `unknown`, or as their maker likes.
        number = re.match(r"v?(\d+)\.(\d+)\.\d+", server.version)
        if number and (int(number[1]), int(number[2])) < _OLDEST_VERSION:
            raise KubeflowError(
                f"{self.host}: Kubeflow Pipelines {server.version} is too old: 2.5 is the first that takes images, "
                "claims and secrets of a step from parameters, and that repeats a failed step."
            )
        if server.is_multi_user and self.namespace is None:
            raise WrongDeploymentError(f"{self.host} has a namespace for each user: say which with --namespace.")
        if not server.is_multi_user and self.namespace is not None:
            raise WrongDeploymentError(
                f"namespace {self.namespace}: {self.host} serves a single user and runs everything in its own "
                "namespace; leave --namespace out."
            )
        return server

    def find_pipeline(self, name: str) -> Any | None:
        """Returns the V2beta1Pipeline of this name, or None."""
        found = self._call(
            self._pipelines.pipeline_service_list_pipelines, namespace=self.namespace or "", filter=_named(name)
        )
        return found.pipelines[0] if found.pipelines else None

    def create_pipeline(self, name: str) -> Any:
        """Returns a new V2beta1Pipeline, which has no version yet."""
        import kfp_server_api

        pipeline = kfp_server_api.V2beta1Pipeline(display_name=name, namespace=self.namespace)
        return self._call(self._pipelines.pipeline_service_create_pipeline, pipeline)

    def delete_pipeline(self, pipeline_id: str) -> None:
        """Removes a pipeline that has no version."""
        self._call(self._pipelines.pipeline_service_delete_pipeline, pipeline_id)

    def find_version(self, pipeline_id: str, name: str | None = None) -> Any | None:
        """Returns the V2beta1PipelineVersion of this name, or the newest of all; None if there is none."""
        options = {} if name is None else {"filter": _named(name)}
        found = self._call(
            self._pipelines.pipeline_service_list_pipeline_versions,
            pipeline_id,
            page_size=1,
            sort_by="created_at desc",
            **options,
        )
        return found.pipeline_versions[0] if found.pipeline_versions else None

    def upload_version(self, pipeline_id: str, name: str, file: Path) -> Any:
        """Returns the new V2beta1PipelineVersion, of the content of `file`."""
        return self._call(self._uploads.upload_pipeline_version, str(file), name=name, pipelineid=pipeline_id)

    def find_experiment(self, name: str) -> Any | None:
        """Returns the V2beta1Experiment of this name, or None."""
        found = self._call(
            self._experiments.experiment_service_list_experiments, namespace=self.namespace or "", filter=_named(name)
        )
        return found.experiments[0] if found.experiments else None

    def create_experiment(self, name: str) -> Any:
        """Returns a new V2beta1Experiment."""
        import kfp_server_api

        experiment = kfp_server_api.V2beta1Experiment(display_name=name, namespace=self.namespace)
        return self._call(self._experiments.experiment_service_create_experiment, experiment)

    def create_run(self, values: Mapping[str, Any]) -> Any:
        """Starts a run of which `values` are the fields, and returns its V2beta1Run."""
        import kfp_server_api

        return self._call(self._runs.run_service_create_run, kfp_server_api.V2beta1Run(**values))

    def get_run(self, run_id: str) -> Any:
        """Returns the V2beta1Run as it is now."""
        return self._call(self._runs.run_service_get_run, run_id)

    def find_recurring_runs(self, experiment_id: str, name: str) -> list[Any]:
        """Returns each V2beta1RecurringRun of this name: names are not unique."""
        found: list[Any] = []
        page_token: str | None = ""
        while page_token is not None:
            answer = self._call(
                self._recurring_runs.recurring_run_service_list_recurring_runs,
                experiment_id=experiment_id,
                filter=_named(name),
                page_token=page_token,
            )
            found += answer.recurring_runs or []
            page_token = answer.next_page_token or None
        return found

    def create_recurring_run(self, values: Mapping[str, Any]) -> Any:
        """Returns the new V2beta1RecurringRun of which `values` are the fields."""
        import kfp_server_api

        recurring_run = kfp_server_api.V2beta1RecurringRun(**values)
        return self._call(self._recurring_runs.recurring_run_service_create_recurring_run, recurring_run)

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Removes a schedule; a run that it has started goes on."""
        self._call(
            self._recurring_runs.recurring_run_service_delete_recurring_run,
            recurring_run_id,
            propagation_policy="ORPHAN",
        )

    def run_link(self, run_id: str) -> str:
        """Returns where the UI shows a run."""
        return f"{self.host}/#/runs/details/{run_id}"

    def recurring_run_link(self, recurring_run_id: str) -> str:
        """Returns where the UI shows a schedule."""
        return f"{self.host}/#/recurringrun/details/{recurring_run_id}"

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with errors_explained(self.host):
            return method(*arguments, _request_timeout=TIMEOUT, **options)


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "stringValue": name}]})
