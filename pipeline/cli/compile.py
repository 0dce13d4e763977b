"""`digits compile`: writes the compiled pipeline for Kubeflow Pipelines or Vertex AI."""

from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import (
    config_option,
    data_option,
    image_option,
    profile_option,
    quiet_libraries,
    set_option,
    settings_from_options,
    tuned_option,
)
from registry.atomic_files import replace_file

if TYPE_CHECKING:
    from pipeline.kubeflow.compile.parameters import CompileTarget
    from pipeline.settings.settings import Settings

_DEFAULT_FILES = {"kfp": "pipeline.yaml", "vertex": "pipeline.json"}
_SUFFIXES = {"kfp": (".yaml", ".yml"), "vertex": (".json",)}


@click.command("compile")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: pipeline.yaml, or pipeline.json for Vertex AI]",
)
@image_option
@click.option(
    "--target",
    type=click.Choice(list(_DEFAULT_FILES)),
    default="kfp",
    show_default=True,
    help="Platform to compile for.",
)
@data_option
@profile_option
@tuned_option
@config_option
@set_option
def compile_pipeline(
    output: Path | None,
    image: str | None,
    target: "CompileTarget",
    data: str | None,
    profile: str | None,
    tuned: bool,
    config: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Compile the pipeline for Kubeflow Pipelines 2 (kfp) or Vertex AI (vertex).

    If the target does not support a setting, the command fails and writes no file. Steps read data in this project from
    the image, data at other local paths from pod volumes, and URLs directly.
    """
    output = output or Path(_DEFAULT_FILES[target])
    if not output.absolute().parent.is_dir():
        raise click.BadParameter(f"{output}: there is no folder {output.parent}.", param_hint="--output")
    if output.suffix not in _SUFFIXES[target]:
        allowed = " or ".join(_SUFFIXES[target])
        raise click.BadParameter(f"{output}: expected a name that ends in {allowed}.", param_hint="--output")
    settings = settings_from_options(config, assignments, profile=profile, data_uri=data, image=image, tuned=tuned)
    replace_file(output, compile_quietly(settings, target))
    _print_summary(settings, target, output)


def compile_quietly(settings: "Settings", target: "CompileTarget") -> str:
    """Compiles the pipeline without the output of libraries.

    Raises:
        CompileError: The target cannot run the pipeline with these settings.
        UsageError: The schema defines no contract, or the settings do not fit it.
    """
    from pipeline.settings.settings import load_contract

    load_contract(settings)
    with quiet_libraries():
        from pipeline.kubeflow.compile.compiler import compile_pipeline as compile_text

        return compile_text(settings, target)


def _print_summary(settings: "Settings", target: "CompileTarget", output: Path) -> None:
    from pipeline.kubeflow.compile.parameters import parameters_of, path_in_image

    click.echo(f"{output}: {settings.name}, profile {settings.profile}, image {settings.kubeflow.image}")
    click.echo("Parameters that each run can set:")
    parameters = parameters_of(settings, target)
    for parameter in parameters.values():
        click.echo(f"  {parameter.name}={parameter.default}")
    needed = {"data": parameters["data_uri"].default, "schema": path_in_image(str(settings.data.schema_file))}
    for kind, uri in needed.items():
        if note := _note(settings, kind, uri):
            click.echo(f"Note: {note}")
    if not settings.kubeflow.signing_secret:
        click.echo("Note: versions will not be signed, so `digits` will not use them: docs/signatures.md.")
    if target == "kfp":
        click.echo(f"Next: digits deploy --host URL --file {output}")
    else:
        job = f'PipelineJob(display_name="{settings.name}", template_path="{output}")'
        click.echo(f"Next: google.cloud.aiplatform.{job}.submit()")


def _note(settings: "Settings", kind: str, uri: str) -> str | None:
    """Returns what the user must do so that the pods can read data or schema, as far as it is known here."""
    from pipeline.settings.settings import PROJECT_ROOT

    path, claim_folder = PurePosixPath(uri), settings.kubeflow.data_folder
    if "://" in uri or (settings.kubeflow.data_claim and path.is_relative_to(claim_folder)):
        return None
    if path.is_absolute():
        return f"the pods need the {kind} at {uri}: in the image, or in kubeflow.data_claim, mounted at {claim_folder}."
    # Folders named by span may be added later.
    fixed = PurePosixPath(*takewhile(lambda part: "{" not in part, path.parts))
    if path.parts[0] == "data" and (PROJECT_ROOT / fixed).exists():
        return None
    return f"`make image` copies only data/ of this project into the image; move the {kind} there: {uri}."
