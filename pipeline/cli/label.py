"""`digits label`: which pushed version TF Serving answers under which label."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from registry.labels import ModelLabels
    from registry.versions import Version


@click.command()
@click.argument("label", required=False)
@click.argument("version", type=int, required=False)
@click.option("--remove", metavar="LABEL", help="Take this label away.")
@model_option
@workspace_option
@config_option
@json_option
def label(
    label: str | None,
    version: int | None,
    remove: str | None,
    model: str | None,
    workspace: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """List the labels of a model, or give LABEL to VERSION, the newest if not given.

    With labels, TF Serving loads the versions that have one, and what had one before the last change: a new push waits
    for its label. `digits label canary` tries the newest version, `digits label stable VERSION` promotes one or goes
    back. Without labels the newest version is served. docs/serving.md says how a server comes to use them.
    """
    if remove is not None and label is not None:
        raise click.UsageError(f"Give either --remove {remove} or the label {label}, not both.")
    with errors_to_exit_codes():
        from registry.publishing import existing_versions

        settings = settings_from_options(config, workspace=workspace)
        name = model or settings.name
        versions = existing_versions(settings.serving_root / name)
        labels = _change(settings.serving_root, name, label or remove, _target(versions, label, version))
    if as_json:
        print_json(_values(name, labels))
    else:
        _show(name, labels, versions)


def _target(versions: "list[Version]", label: str | None, version: int | None) -> int | None:
    if label is None:
        return None
    numbers = [each.number for each in versions]
    if version is not None and version not in numbers:
        known = ", ".join(str(number) for number in numbers)
        raise click.BadParameter(
            f"{version}: no such version of {versions[0].model}; there are {known}.", param_hint="VERSION"
        )
    return numbers[-1] if version is None else version


def _change(serving_root: Path, model: str, label: str | None, version: int | None) -> "ModelLabels":
    from registry.labels import read_labels, set_label

    if label is None:
        return read_labels(serving_root, model)

    def say(seconds: float) -> None:
        click.echo(f"{label} moves to {version} in {seconds:.0f} s, when every server has read what to load.", err=True)

    return set_label(serving_root, model, label, version, say)


def _values(model: str, labels: "ModelLabels") -> dict[str, Any]:
    return {"model": model, "labels": dict(sorted(labels.labels.items())), "loaded": list(labels.loaded)}


def _show(model: str, labels: "ModelLabels", versions: "list[Version]") -> None:
    pushed = {each.number: f"{each.pushed.astimezone():%Y-%m-%d %H:%M}" for each in versions}
    if not labels.labels:
        click.echo(f"{model} has no labels: its newest version, {versions[-1].number}, is served.")
        return
    rows = [(name, str(number), pushed.get(number, "missing")) for name, number in sorted(labels.labels.items())]
    print_table(("label", "version", "pushed"), rows)
    loaded = ", ".join(str(number) for number in labels.loaded)
    click.echo(f"TF Serving loads {loaded}; a request without a label is answered by {max(labels.loaded, default='')}.")
