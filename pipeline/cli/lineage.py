"""`digits lineage`: where a pushed version comes from, and who uses it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import (
    config_option,
    json_option,
    model_option,
    print_json,
    settings_from_options,
    workspace_option,
)
from pipeline.cli.versions import find_serving_directory
from registry.errors import UsageError

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings
    from registry.lineage import Lineage


@click.command()
@click.argument("version", required=False)
@click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart, which GitHub and many editors draw.")
@model_option
@workspace_option
@config_option
@json_option
def lineage(
    version: str | None, mermaid: bool, model: str | None, workspace: str | None, config: Path | None, as_json: bool
) -> None:
    """Show where a version comes from, and who uses it.

    VERSION is the number of a version, by default the current one, or the folder of a copied version. Leads back to the
    run, the data, the schema, the Transform graph, the gates, the baseline, the settings, the code and the packages,
    and forward to labels, rollbacks and later comparisons. Uses ML Metadata or, where it does not know the version, the
    provenance that ships with the version.
    """
    if mermaid and as_json:
        raise click.UsageError("Give either --json or --mermaid, not both.")
    from pipeline.local.lineage_display import render_mermaid, render_tree

    found = _trace(settings_from_options(config, workspace=workspace), model, version)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        click.echo(render_mermaid(found) if mermaid else render_tree(found), nl=False)


def _trace(settings: "Settings", model: str | None, version: str | None) -> "Lineage":
    from pipeline.local.lineage import add_metadata
    from registry.lineage import trace_version
    from registry.nearest_names import nearest_names
    from registry.publishing import existing_version
    from registry.versions import SAVED_MODEL_FILE, list_versions, newest_usable, version_number

    policy = settings.trust_policy
    number = None if version is None else version_number(version)
    if version is not None and number is None:
        folder = Path(version).resolve()
        if not (folder / SAVED_MODEL_FILE).is_file():
            numbers = [str(each.number) for each in list_versions(find_serving_directory(settings, model))]
            known = f"; {nearest_names(version, numbers)}; `digits versions` lists all" if numbers else ""
            raise UsageError(
                f"{version}: expected the number of a version or the folder of one, with {SAVED_MODEL_FILE}{known}."
            )
        if model is not None:
            raise UsageError(f"--model {model}: a folder needs no model; give either the option or {version}.")
        return add_metadata(trace_version(folder, policy, anywhere=True), settings.metadata_file)
    directory = find_serving_directory(settings, model)
    if number is None:
        current = newest_usable(directory, policy) or existing_version(directory, None)
        return add_metadata(trace_version(current.directory, policy), settings.metadata_file)
    found = add_metadata(trace_version(directory / str(number), policy), settings.metadata_file)
    if found.state is None and found.metadata is None:
        # ML Metadata may know a version that has been removed, but not this one.
        existing_version(directory, number)
    return found
