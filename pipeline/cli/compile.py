"""`digits compile`: writes the pipeline as Kubeflow Pipelines or Vertex AI takes it."""

import os
import sys
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import config_option, errors_to_exit_codes, settings_from_options

if TYPE_CHECKING:
    from pipeline.kubeflow.compile.requirements import CompileTarget
    from pipeline.settings.settings import Settings

_DEFAULT_FILES = {"kfp": "pipeline.yaml", "vertex": "pipeline.json"}
_SUFFIXES = {"kfp": (".yaml", ".yml"), "vertex": (".json",)}


@click.command("compile")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it.  [default: pipeline.yaml, or pipeline.json for Vertex AI]",
)
@click.option("--image", metavar="REF", help="Image in which the steps run; short for --set kubeflow.image=REF.")
@click.option(
    "--target", type=click.Choice(list(_DEFAULT_FILES)), default="kfp", show_default=True, help="Where to run."
)
@click.option("--data", metavar="URI", help="npz, IDX, image folder or CSV; may hold {SPAN}.  [default: MNIST]")
@click.option("--profile", metavar="P", help="smoke (seconds), fast or default.")
@config_option
@click.option("--set", "assignments", metavar="SECTION.KEY=VALUE", multiple=True, help="Set one setting; repeatable.")
def compile_pipeline(
    output: Path | None,
    image: str | None,
    target: "CompileTarget",
    data: str | None,
    profile: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Compile the pipeline for Kubeflow Pipelines 2 (kfp) or Vertex AI (vertex).

    What a cluster would refuse is refused here, and then nothing is written. Data below this project is read from the
    image, other paths from the pods; URLs are read as they are.
    """
    output = output or Path(_DEFAULT_FILES[target])
    _check_output(output, target)
    with errors_to_exit_codes():
        if image is not None:
            assignments += (f"kubeflow.image={image}",)
        settings = settings_from_options(config, assignments, profile=profile, data_uri=data)
        _compile(settings, target, output)
        _print_summary(settings, target, output)


def _check_output(output: Path, target: str) -> None:
    if not output.absolute().parent.is_dir():
        raise click.BadParameter(f"{output}: there is no folder {output.parent}.", param_hint="--output")
    if output.suffix not in _SUFFIXES[target]:
        allowed = " or ".join(_SUFFIXES[target])
        raise click.BadParameter(f"{output}: expected a name that ends in {allowed}.", param_hint="--output")


def _compile(settings: "Settings", target: "CompileTarget", output: Path) -> None:
    from pipeline.local.display import library_output_to

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # click's own for tests are no files.
    with library_output_to(Path(os.devnull), sys.__stderr__ or sys.stderr):
        from pipeline.kubeflow.compile.runner import compile_pipeline as compile_text
        from pipeline.kubeflow.compile.runner import write_compiled

        write_compiled(compile_text(settings, target), output)


def _print_summary(settings: "Settings", target: str, output: Path) -> None:
    from pipeline.kubeflow.compile.runtime_parameters import PARAMETERS, VERTEX_PARAMETERS, parameter_values

    click.echo(f"{output}: {settings.name}, profile {settings.profile}, image {settings.kubeflow.image}")
    click.echo("Parameters, which each run may set:")
    values = parameter_values(settings)
    for parameter in PARAMETERS if target == "kfp" else VERTEX_PARAMETERS:
        click.echo(f"  {parameter.name}={values[parameter.name]}")
    if note := _data_note(settings, str(values["data_uri"])):
        click.echo(f"Note: {note}")
    if target == "kfp":
        click.echo(f"Next: digits deploy --host URL --file {output}")
    else:
        job = f'PipelineJob(display_name="{settings.name}", template_path="{output}")'
        click.echo(f"Next: google.cloud.aiplatform.{job}.submit()")


def _data_note(settings: "Settings", uri: str) -> str | None:
    """Returns what to see to so that the pods have the data, as far as that can be known here."""
    from pipeline.settings.settings import PROJECT_ROOT

    path, claim_folder = PurePosixPath(uri), settings.kubeflow.data_folder
    if "://" in uri or (settings.kubeflow.data_claim and path.is_relative_to(claim_folder)):
        return None
    if path.is_absolute():
        return (
            f"the pods must have the data at {uri}: in the image, or in kubeflow.data_claim, which is {claim_folder}."
        )
    # What is named by span may come later.
    fixed = PurePosixPath(*takewhile(lambda part: "{" not in part, path.parts))
    if path.parts[0] == "data" and (PROJECT_ROOT / fixed).exists():
        return None
    return (
        f"of data in the project `make image` takes what is in data/ when the image is built, and {uri} is not there."
    )
