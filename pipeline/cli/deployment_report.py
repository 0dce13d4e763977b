"""What `digits deploy` says of what it has deployed, to people and to programs."""

from typing import Any, Literal, TextIO

from rich.console import Console

from pipeline.kubeflow.deploy.client import KubeflowClient
from pipeline.kubeflow.deploy.deployment import Deployment, Request
from pipeline.kubeflow.deploy.errors import KubeflowError
from pipeline.kubeflow.deploy.follower import FollowedRun, follow_run
from pipeline.kubeflow.deploy.schedule import describe_cron
from pipeline.local.display import RunDisplay


class DeploymentReport:
    """Tells a terminal of a deployment, and of the run that it has started."""

    def __init__(self, client: KubeflowClient, request: Request, deployment: Deployment, terminal: TextIO) -> None:
        """Says nothing yet.

        Args:
            client: Where it was deployed.
            request: What was to be deployed.
            deployment: What came of it.
            terminal: Where to write.
        """
        self._client = client
        self._request = request
        self._deployment = deployment
        self._console = Console(file=terminal, highlight=False, markup=False)

    def show_deployment(self) -> None:
        """Prints what there is now, and where the UI shows it."""
        deployment, cron = self._deployment, self._request.cron
        came = "uploaded" if deployment.is_new_version else "was there already"
        self._print("Pipeline", f"{self._request.pipeline.name}, version {deployment.version}: {came}")
        self._print("Experiment", self._request.experiment)
        if cron is not None:
            self._print("Schedule", f"{cron}: {describe_cron(cron)}; UTC, unless the API server is set otherwise")
            for created in deployment.replaced:
                self._print("", f"replaces the one of {created:%Y-%m-%d %H:%M}")
        self._print("Run" if cron is None else "Recurring run", deployment.link)

    def follow(self) -> FollowedRun:
        """Shows the steps of the run until it has ended.

        Raises:
            KubeflowError: It cannot be read any more, or somebody has pressed Ctrl+C.
        """
        display = RunDisplay(self._console)
        try:
            return follow_run(lambda: self._client.get_run(self._deployment.id), self._request.pipeline.steps, display)
        except KeyboardInterrupt:
            raise KubeflowError(f"interrupted; the run goes on: {self._deployment.link}") from None
        finally:
            display.stop()

    def show_end(self, run: FollowedRun) -> Literal["done", "refused"]:
        """Prints how the run has ended, as far as the API of Kubeflow Pipelines says.

        Returns:
            `refused` where a gate did not let the steps after it run. What gates decide that the last step heeds is
            metadata of artifacts, which this API does not have.

        Raises:
            KubeflowError: The run has failed.
        """
        if run.state != "SUCCEEDED":
            raise KubeflowError(self._failure(run))
        gates = {gate for step in run.not_run for gate in self._request.pipeline.gates_of(step)} - set(run.not_run)
        if not gates:
            last = self._request.pipeline.steps[-1]
            self._print(
                "Gates",
                f"Kubeflow's API does not tell what they decided: the log of {last} does, and its output in the UI",
            )
            return "done"
        self._print("Gates", f"refused by {', '.join(sorted(gates))}; nothing was pushed. Its log says why", "bold red")
        return "refused"

    def values(self, run: FollowedRun | None) -> dict[str, Any]:
        """Returns what JSON says.

        Args:
            run: How the run has ended, if it was followed.
        """
        id_key = "run_id" if self._request.cron is None else "recurring_run_id"
        ended = {} if run is None else {"state": run.state, "failed": list(run.failed), "not_run": list(run.not_run)}
        return {
            "pipeline": self._request.pipeline.name,
            "version": self._deployment.version,
            "uploaded": self._deployment.is_new_version,
            "experiment": self._request.experiment,
            "schedule": self._request.cron,
            id_key: self._deployment.id,
            "link": self._deployment.link,
            **ended,
        }

    def _failure(self, run: FollowedRun) -> str:
        where = f" in {', '.join(run.failed)}" if run.failed else ""
        namespace = self._client.namespace or "kubeflow"
        return (
            f"the run has ended as {run.state}{where}: {self._deployment.link}. Logs: kubectl logs --namespace "
            f"{namespace} --selector pipeline/runid={self._deployment.id} --container main --tail 20 --prefix"
        )

    def _print(self, heading: str, text: str, style: str = "") -> None:
        self._console.print(f"{heading:<14} {text}", style=style, soft_wrap=True)
