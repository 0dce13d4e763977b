"""`digits deploy`: uploads the pipeline to Kubeflow Pipelines and starts a run now or on a schedule."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from pipeline.cli.compile import compile_quietly
from pipeline.cli.options import (
    EXIT_REFUSED,
    config_option,
    image_option,
    is_loopback,
    json_option,
    print_json,
    profile_option,
    set_option,
    settings_from_options,
    tuned_option,
)

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.kubeflow.deploy.client import KubeflowClient
    from pipeline.kubeflow.deploy.deployment import Deployment
    from pipeline.kubeflow.deploy.follower import FollowedRun


@click.command()
@click.option(
    "--host", metavar="URL", required=True, envvar="KF_PIPELINES_ENDPOINT", help="Address of Kubeflow Pipelines."
)
@click.option("--namespace", metavar="N", help="Your namespace, in a multi-user installation.")
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="KF_PIPELINES_SA_TOKEN_PATH",
    help="File that contains the token.  [default: KFP_TOKEN]",
)
@click.option(
    "--experiment", metavar="E", help="Experiment; created if it does not exist.  [default: name of the pipeline]"
)
@click.option("--schedule", metavar="CRON", help="Start recurring runs, such as '0 2 * * 1-5', instead of one run now.")
@click.option("--param", "parameters", metavar="NAME=VALUE", multiple=True, help="Parameter of the run; repeatable.")
@click.option(
    "--file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Output of `digits compile`, instead of compiling.",
)
@image_option
@click.option(
    "--data", metavar="URI", help="Image folders, npz, IDX, CSV or Parquet, as the pods see it.  [default: MNIST]"
)
@profile_option
@tuned_option
@config_option
@set_option
@click.option("--wait", is_flag=True, help="Show the progress until the run ends.")
@json_option
def deploy(
    host: str,
    namespace: str | None,
    token_file: Path | None,
    experiment: str | None,
    schedule: str | None,
    parameters: tuple[str, ...],
    file: Path | None,
    image: str | None,
    data: str | None,
    profile: str | None,
    tuned: bool,
    config: Path | None,
    assignments: tuple[str, ...],
    wait: bool,
    as_json: bool,
) -> None:
    """Upload the pipeline to Kubeflow Pipelines and start or schedule runs.

    Checks everything before the upload, and uploads the same content only once. Pass the token in a file or in the
    environment, because other users can see command lines. See docs/kubeflow.md.
    """
    if wait and schedule is not None:
        raise click.UsageError("--wait follows a run that starts now; --schedule does not start a run now.")
    if file is not None and any((image, data, profile, tuned, config, assignments)):
        raise click.UsageError(
            "--file is already compiled: use --image, --data, --profile, --tuned, --config and --set with `digits "
            "compile`."
        )
    from rich.console import Console

    from pipeline.kubeflow.compile.compiled_pipeline import parse_compiled
    from pipeline.kubeflow.compile.parameters import parameters_of, parse_arguments
    from pipeline.kubeflow.deploy.deployment import deploy as deploy_pipeline
    from pipeline.kubeflow.deploy.deployment import kubeflow_cron

    cron = None if schedule is None else kubeflow_cron(schedule)
    # All checks come before compiling, which takes half a minute.
    if file is not None:
        pipeline = parse_compiled(file.read_bytes(), str(file))
        arguments = parse_arguments(parameters, pipeline.parameters)
        client = _connect(host, token_file, namespace)
    else:
        settings = settings_from_options(config, assignments, profile=profile, data_uri=data, image=image, tuned=tuned)
        arguments = parse_arguments(parameters, parameters_of(settings))
        client = _connect(host, token_file, namespace)
        pipeline = parse_compiled(compile_quietly(settings, "kfp").encode(), settings.name)
    deployment = deploy_pipeline(client, pipeline, arguments, experiment or pipeline.name, cron)
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False, markup=False)
    _show_deployment(console, deployment)
    run = _follow(console, client, deployment) if wait else None
    if as_json:
        print_json(_json_values(deployment, run))
    if run is not None and _show_end(console, client, deployment, run):
        sys.exit(EXIT_REFUSED)


def _connect(host: str, token_file: Path | None, namespace: str | None) -> "KubeflowClient":
    from pipeline.kubeflow.deploy.client import KubeflowClient, clean_host, token_reader

    read_token = token_reader(token_file)
    client = KubeflowClient(clean_host(host), read_token, namespace)
    address = urlsplit(client.host)
    if read_token() is not None and address.scheme == "http" and not is_loopback(address.hostname or ""):
        click.echo(f"Warning: the token is sent to {client.host} without encryption.", err=True)
    client.connect()
    return client


def _show_deployment(console: "Console", deployment: "Deployment") -> None:
    from pipeline.kubeflow.deploy.deployment import describe_cron

    cron, pipeline = deployment.cron, deployment.pipeline
    uploaded = "uploaded" if deployment.is_new_version else "already there"
    _print(console, "Pipeline", f"{pipeline.name}, version {pipeline.version}: {uploaded}")
    _print(console, "Experiment", deployment.experiment)
    if cron is not None:
        _print(console, "Schedule", f"{cron}: {describe_cron(cron)} (UTC, unless the API server is set otherwise)")
        for created in deployment.replaced:
            _print(console, "", f"replaces the schedule of {created:%Y-%m-%d %H:%M}")
    _print(console, "Run" if cron is None else "Recurring run", deployment.link)


def _follow(console: "Console", client: "KubeflowClient", deployment: "Deployment") -> "FollowedRun":
    from pipeline.kubeflow.deploy.client import KubeflowError
    from pipeline.kubeflow.deploy.follower import follow_run
    from pipeline.local.display import RunDisplay

    display = RunDisplay(console)
    try:
        return follow_run(lambda: client.get_run(deployment.id), deployment.pipeline.steps, display)
    except KeyboardInterrupt:
        raise KubeflowError(f"interrupted; the run continues: {deployment.link}") from None
    finally:
        display.stop()


def _show_end(console: "Console", client: "KubeflowClient", deployment: "Deployment", run: "FollowedRun") -> bool:
    """Prints the result of a run, and returns whether a gate stopped the steps after it.

    Other gates write their decisions to the metadata of artifacts, which the API does not return.

    Raises:
        KubeflowError: The run has failed.
    """
    from pipeline.kubeflow.deploy.client import KubeflowError

    pipeline = deployment.pipeline
    if run.state != "SUCCEEDED":
        where = f" in {', '.join(run.failed)}" if run.failed else ""
        raise KubeflowError(
            f"the run ended as {run.state}{where}: {deployment.link}. Logs: kubectl logs --namespace "
            f"{client.namespace or 'kubeflow'} --selector pipeline/runid={deployment.id} --container main --tail 20 "
            "--prefix"
        )
    gates = {gate for step in run.not_run for gate in pipeline.gates_of(step)} - set(run.not_run)
    if gates:
        text = f"refused by {', '.join(sorted(gates))}; nothing was pushed. Its log says why"
        _print(console, "Gates", text, "bold red")
        return True
    last = pipeline.steps[-1]
    _print(console, "Gates", f"the API does not return their decisions; see the output of {last} in the UI")
    return False


def _json_values(deployment: "Deployment", run: "FollowedRun | None") -> dict[str, Any]:
    id_key = "run_id" if deployment.cron is None else "recurring_run_id"
    ended = {} if run is None else {"state": run.state, "failed": list(run.failed), "not_run": list(run.not_run)}
    return {
        "pipeline": deployment.pipeline.name,
        "version": deployment.pipeline.version,
        "uploaded": deployment.is_new_version,
        "experiment": deployment.experiment,
        "schedule": deployment.cron,
        id_key: deployment.id,
        "link": deployment.link,
        **ended,
    }


def _print(console: "Console", heading: str, text: str, style: str = "") -> None:
    console.print(f"{heading:<14} {text}", style=style, soft_wrap=True)
