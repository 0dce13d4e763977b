"""The commands of `digits` for pushed versions: list them, make an older one current again, remove old ones."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import (
    config_option,
    errors_to_exit_codes,
    json_option,
    model_option,
    settings_from_options,
    workspace_option,
)
from pipeline.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings


@click.command()
@workspace_option
@config_option
@json_option
def versions(workspace: str | None, config: Path | None, as_json: bool) -> None:
    """List the pushed versions of the models, the oldest first."""
    with errors_to_exit_codes():
        from pipeline.cli.version_report import HEADER, report_versions

        settings = settings_from_options(config, workspace=workspace)
        models = sorted(settings.serving_root.iterdir()) if settings.serving_root.is_dir() else []
        reports = [report for model in models for report in report_versions(model)]
    if as_json:
        print_json([report.values() for report in reports])
    elif not reports:
        click.echo(f"No version has been pushed to {settings.serving_root} yet.")
    else:
        print_table(HEADER, [report.cells() for report in reports])
        click.echo(f"{settings.serving_root} (a server loads the current version of a model)")


@click.command()
@click.argument("version", type=int, required=False)
@model_option
@workspace_option
@config_option
@json_option
def rollback(version: int | None, model: str | None, workspace: str | None, config: Path | None, as_json: bool) -> None:
    """Make an older version of a model current again.

    VERSION is published once more, under a new number; nothing is removed. Without VERSION it is the newest that holds
    another model than the current one: a second rollback undoes the first. Where labels say what is served, `digits
    label stable VERSION` goes back.
    """
    with errors_to_exit_codes():
        from pipeline.cli.version_report import version_values
        from registry.publishing import roll_back
        from registry.versions import list_versions, read_provenance

        directory = _serving_directory(settings_from_options(config, workspace=workspace), model)
        labels = _labels(directory)
        before = list_versions(directory)
        published = roll_back(directory, version)
        provenance = read_provenance(published.directory)
        target = provenance.rolled_back_to if provenance else None
    if as_json:
        values = {"rolled_back_to": target, "replaced": before[-1].number, "labels": labels}
        print_json({**version_values(published), **values})
        return
    click.echo(f"{published.model}: version {published.number} is now current, a copy of {target}.")
    click.echo(f"It takes the place of version {before[-1].number}, which stays where it is.")
    if labels:
        click.echo(f"Its labels say what is served: give it one, `digits label LABEL {published.number}`.")


@click.command()
@click.option("--keep", type=click.IntRange(min=1), required=True, help="How many of the newest versions to keep.")
@model_option
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@workspace_option
@config_option
@json_option
def prune(
    keep: int, model: str | None, dry_run: bool, workspace: str | None, config: Path | None, as_json: bool
) -> None:
    """Remove old versions of a model.

    All but the newest; the baseline, to which a rollback goes, is kept as well, and so are the versions with whose data
    DataGate may compare that of the next run. A version that has a label is never removed.
    """
    with errors_to_exit_codes():
        from pipeline.cli.version_report import report_versions, version_values
        from registry.publishing import prunable_versions
        from registry.publishing import prune as prune_versions

        directory = _serving_directory(settings_from_options(config, workspace=workspace), model)
        _refuse_labelled(directory, keep)
        removed = (prunable_versions if dry_run else prune_versions)(directory, keep)
        kept = [report for report in report_versions(directory) if report.version not in removed]
    if as_json:
        values = {"removed": [version_values(version) for version in removed], "dry_run": dry_run}
        print_json({**values, "kept": [report.values() for report in kept]})
        return
    for version in removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {version.model} {version.number}")
    for report in kept:
        is_new = report in kept[-keep:]
        reason = report.roles or (f"one of the newest {keep}" if is_new else "DataGate may compare with its data")
        click.echo(f"{'would keep' if dry_run else 'kept'} {report.version.model} {report.version.number}: {reason}")


def _labels(directory: Path) -> dict[str, int]:
    from registry.labels import read_labels

    return dict(read_labels(directory.parent, directory.name).labels)


def _refuse_labelled(directory: Path, keep: int) -> None:
    from registry.publishing import WrongRequestError, prunable_versions
    from registry.versions import list_versions

    prunable = [version.number for version in prunable_versions(directory, keep)]
    labels = {label: number for label, number in _labels(directory).items() if number in prunable}
    if labels:
        label, oldest = min(labels.items(), key=lambda item: item[1])
        enough = sum(version.number >= oldest for version in list_versions(directory))
        raise WrongRequestError(
            f"--keep {keep}: this would remove version {oldest}, which has the label {label}; expected {enough} or "
            "more, or another version for the label first: `digits label`."
        )


def _serving_directory(settings: "Settings", model: str | None) -> Path:
    from registry.versions import list_versions

    if model is None:
        return settings.serving_directory
    models = sorted(settings.serving_root.iterdir()) if settings.serving_root.is_dir() else []
    pushed = [directory.name for directory in models if list_versions(directory)]
    if model not in pushed:
        known = f"there are {', '.join(pushed)}" if pushed else "no model has been pushed there yet"
        raise click.BadParameter(f"{model!r} is not in {settings.serving_root}; {known}.", param_hint="--model")
    return settings.serving_root / model
