"""`digits deploy`: puts the pipeline into Kubeflow Pipelines, and starts it now or at set times."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import (
    EXIT_REFUSED,
    config_option,
    errors_to_exit_codes,
    json_option,
    print_json,
    settings_from_options,
)

if TYPE_CHECKING:
    from pipeline.kubeflow.compile.compiled_pipeline import CompiledPipeline
    from pipeline.kubeflow.deploy.arguments import PipelineInput
    from pipeline.kubeflow.deploy.client import KubeflowClient
    from pipeline.settings.settings import Settings


@click.command()
@click.option("--host", metavar="URL", required=True, envvar="KF_PIPELINES_ENDPOINT", help="Of Kubeflow Pipelines.")
@click.option("--namespace", metavar="N", help="Yours, where Kubeflow Pipelines has several users.")
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="KF_PIPELINES_SA_TOKEN_PATH",
    help="Holds the token.  [default: KFP_TOKEN]",
)
@click.option("--experiment", metavar="E", help="Made if it is not there.  [default: name of the pipeline]")
@click.option("--schedule", metavar="CRON", help="Start runs then, such as '0 2 * * 1-5', instead of one now.")
@click.option("--param", "parameters", metavar="NAME=VALUE", multiple=True, help="Parameter of the run; repeatable.")
@click.option(
    "--file", metavar="FILE", type=click.Path(path_type=Path), help="What `digits compile` wrote, instead of compiling."
)
@click.option("--image", metavar="REF", help="Image in which the steps run.")
@click.option("--data", metavar="URI", help="npz, IDX, image folder or CSV, as the pods see it.  [default: MNIST]")
@click.option("--profile", metavar="P", help="smoke (seconds), fast or default.")
@config_option
@click.option("--set", "assignments", metavar="SECTION.KEY=VALUE", multiple=True, help="Set one setting; repeatable.")
@click.option("--wait", is_flag=True, help="Show the steps until the run has ended.")
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
    config: Path | None,
    assignments: tuple[str, ...],
    wait: bool,
    as_json: bool,
) -> None:
    """Upload the pipeline to Kubeflow Pipelines, and start a run or have a schedule start them.

    Everything is checked before anything is uploaded, and the same content is uploaded once. The token comes from the
    environment or a file: the command line is for all to see. docs/kubeflow.md goes the whole way to a served model.
    """
    if wait and schedule is not None:
        raise click.UsageError("--wait follows a run that starts now; --schedule starts none now.")
    if file is not None and any((image, data, profile, config, assignments)):
        raise click.UsageError(
            "--file is compiled already: --image, --data, --profile, --config and --set come before."
        )
    with errors_to_exit_codes():
        from pipeline.cli.deployment_report import DeploymentReport
        from pipeline.kubeflow.deploy.arguments import check_allowed, parse_arguments
        from pipeline.kubeflow.deploy.deployment import Request
        from pipeline.kubeflow.deploy.deployment import deploy as deploy_request
        from pipeline.kubeflow.deploy.schedule import kubeflow_cron

        cron = None if schedule is None else kubeflow_cron(schedule)
        if image is not None:
            assignments += (f"kubeflow.image={image}",)
        inputs, compiled = (
            _from_settings(settings_from_options(config, assignments, profile=profile, data_uri=data))
            if file is None
            else _from_file(file)
        )
        arguments = parse_arguments(parameters, inputs)
        check_allowed(arguments)
        # Before the pipeline is compiled, which takes half a minute.
        client = _connect(host, token_file, namespace)
        pipeline = compiled()
        request = Request(pipeline, experiment or pipeline.name, arguments, cron)
        deployment = deploy_request(client, request)
        report = DeploymentReport(client, request, deployment, sys.stderr if as_json else sys.stdout)
        report.show_deployment()
        followed = report.follow() if wait else None
        if as_json:
            print_json(report.values(followed))
        if followed is not None and report.show_end(followed) == "refused":
            sys.exit(EXIT_REFUSED)


def _from_file(file: Path) -> "tuple[Mapping[str, PipelineInput], Callable[[], CompiledPipeline]]":
    from pipeline.kubeflow.compile.compiled_pipeline import read_compiled

    compiled = read_compiled(file)
    return compiled.parameters, lambda: compiled


def _from_settings(settings: "Settings") -> "tuple[Mapping[str, PipelineInput], Callable[[], CompiledPipeline]]":
    from pipeline.kubeflow.deploy.arguments import inputs_of

    return inputs_of(settings), lambda: _compile(settings)


def _compile(settings: "Settings") -> "CompiledPipeline":
    from pipeline.kubeflow.compile.compiled_pipeline import parse_compiled
    from pipeline.local.display import library_output_to

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # click's own for tests are no files.
    with library_output_to(Path(os.devnull), sys.__stderr__ or sys.stderr):
        from pipeline.kubeflow.compile.runner import compile_pipeline

        text = compile_pipeline(settings, "kfp")
    return parse_compiled(text.encode(), settings.name)


def _connect(host: str, token_file: Path | None, namespace: str | None) -> "KubeflowClient":
    from pipeline.kubeflow.deploy.client import KubeflowClient
    from pipeline.kubeflow.deploy.connection import clean_host, is_in_clear, token_reader

    read_token = token_reader(token_file)
    client = KubeflowClient(clean_host(host), read_token, namespace)
    if read_token() is not None and is_in_clear(client.host):
        click.echo(f"Warning: the token goes to {client.host} without encryption.", err=True)
    client.connect()
    return client
