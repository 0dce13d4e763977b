"""The `digits new` command: the settings and the schema of a model for your own images."""

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import quiet_libraries

if TYPE_CHECKING:
    from pipeline.settings.gates import EvaluationSettings
    from pipeline.settings.proposal import Proposal
    from pipeline.settings.settings import Settings

# Six characters fewer than a model's name may have, for the suffix of the smoke profile.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,43}")
_SIZE = re.compile(r"([1-9][0-9]{0,3})(?:x([1-9][0-9]{0,3}))?")
_LIMITS = (8, 1024)
# Of each class, in the smoke profile.
_MIN_TEST_IMAGES = 3


def _parse_name(context: click.Context, parameter: click.Parameter, name: str) -> str:
    if not _NAME.fullmatch(name):
        expected = "up to 44 lower-case letters, digits and hyphens, such as street-signs"
        raise click.BadParameter(f"{name!r}: expected {expected}.")
    if os.path.lexists(name):
        raise click.BadParameter(f"{Path(name).absolute()} already exists; choose another name, or remove it.")
    return name


def _parse_classes(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise click.BadParameter(f"{text!r}: expected distinct class names, separated by commas.")
    return names


def _parse_size(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(_LIMITS[0] <= side <= _LIMITS[1] for side in (height, width)):
        least, most = _LIMITS
        raise click.BadParameter(f"{text!r}: expected N or HxW, {least} to {most} pixels, such as 64 or 48x64.")
    return height, width


@click.command()
@click.argument("name", callback=_parse_name)
@click.option(
    "--data", "uri", metavar="URI", required=True, help="Image folders, npz, IDX, CSV or Parquet; may contain {SPAN}."
)
@click.option(
    "--classes",
    metavar="A,B,...",
    callback=_parse_classes,
    help="The classes in order.  [default: those of the data, sorted]",
)
@click.option(
    "--size",
    metavar="N|HxW",
    callback=_parse_size,
    help="Size in which the network sees the images.  [default: that of the images, at most 128]",
)
@click.option("--color/--gray", default=None, help="[default: color if any image is in color]")
def new(name: str, uri: str, classes: tuple[str, ...] | None, size: tuple[int, int] | None, color: bool | None) -> None:
    """Write the settings and the schema of a model for your own images.

    Reads all images at URI, and writes NAME/digits.toml and NAME/schema.pbtxt to fit them: classes, image size, and
    bounds for the number of images. NAME is the name of the model and of a new folder. docs/own-images.md has examples.
    """
    # TensorFlow reports its start.
    with quiet_libraries():
        from components.example_gen.sources.detection import open_source, resolve_span
        from pipeline.settings.proposal import propose
        from pipeline.settings.proposal_files import schema_text, settings_text
        from pipeline.settings.survey import survey_data

        survey = survey_data(open_source(resolve_span(uri, None)[0]), uri)
    channels = None if color is None else 3 if color else 1
    proposal = propose(survey, classes=classes, size=size, channels=channels)
    settings = _write(name, settings_text(proposal, name, _seen_from_a_folder(uri)), schema_text(proposal, name))
    _show(name, proposal, settings.evaluation, uri)


def _seen_from_a_folder(uri: str) -> str:
    """Returns the URI as a file in a folder of the working directory names it."""
    is_relative = "://" not in uri and not os.path.isabs(os.path.expanduser(uri))
    return os.path.join(os.pardir, uri) if is_relative else uri


def _write(name: str, settings: str, schema: str) -> "Settings":
    """Writes both files or none, and returns the settings that they hold."""
    from pipeline.settings.settings import DEFAULT_FILE, load_contract, load_settings

    partial, file = Path(f".{name}.partial"), DEFAULT_FILE.name
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        (partial / "schema.pbtxt").write_text(schema, encoding="utf-8")
        (partial / file).write_text(settings, encoding="utf-8")
        for profile in ("smoke", "default"):
            loaded = load_settings({"profile": profile}, partial / file)
            load_contract(loaded)
        partial.rename(name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return loaded


def _show(name: str, proposal: "Proposal", bounds: "EvaluationSettings", uri: str) -> None:
    survey = proposal.survey
    config = f"--config {name}/digits.toml"
    click.echo(f"{uri}: {survey.format}, {survey.num_images:,} images")
    for assumption in survey.assumptions:
        click.echo(f"  {'assumed':<12} {assumption}")
    for choice in proposal.choices:
        click.echo(f"  {choice.subject:<12} {choice.value} ({choice.reason})")
    splits = ", ".join(f"{sum(sizes.values()):,} {split}" for split, sizes in proposal.sizes.items())
    click.echo(f"  {'splits':<12} {splits}")
    minimums = f"{bounds.min_accuracy:g}, {bounds.min_class_accuracy:g} for each class"
    click.echo(f"  {'gates':<12} accuracy at least {minimums} (as much as the test images can prove)")
    rarest, rarest_in_smoke = (min(sizes["test"].values()) for sizes in (proposal.sizes, proposal.smoke_sizes))
    if rarest_in_smoke < min(rarest, _MIN_TEST_IMAGES):
        few = f"uses {sum(sum(sizes.values()) for sizes in proposal.smoke_sizes.values()):,} images"
        click.echo(f"  The smoke profile {few}, which are too few for this many classes: add --set data.max_images=N.")
    click.echo(f"Wrote {name}/digits.toml and {name}/schema.pbtxt. Next:")
    for command in (
        f"verify-data {config} {shlex.quote(uri)}",
        f"run {config} --profile smoke",
        f"run {config}",
        f"predict {config} FILE",
    ):
        click.echo(f"  digits {command}")
