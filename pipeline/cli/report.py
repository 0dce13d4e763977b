"""The `digits` command that shows the report of a run, or compares two."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import (
    config_option,
    json_option,
    print_json,
    quiet_libraries,
    settings_from_options,
    workspace_option,
)
from registry.errors import ExpectedError

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings


@click.command()
@click.argument("run", metavar="[RUN|VERSION]", required=False)
@click.option("--compare", "names", nargs=2, metavar="RUN RUN", help="Compare two runs instead, as a page.")
@click.option("--open", "opens", is_flag=True, help="Open the report in a browser.")
@workspace_option
@config_option
@json_option
def report(
    run: str | None,
    names: tuple[str, str] | None,
    opens: bool,
    workspace: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Print the path of the report of a run, or of a page that compares two runs.

    RUN is the start of a run's ID, which `digits runs --json` lists, VERSION the number of a version that it pushed;
    by default, the newest run that is not a search of `digits tune`. If the run wrote no report, because it failed or
    is from an earlier release, this command builds one from what exists.
    """
    if run and names:
        raise click.UsageError(f"Give either {run} or --compare, not both.")
    settings = settings_from_options(config, workspace=workspace)
    page, values = _compare(settings, *names) if names else _report(settings, run)
    if as_json:
        print_json(values)
    else:
        click.echo(page)
    if opens and click.launch(page.as_uri()) != 0:
        raise ExpectedError(f"No program opens web pages here; open {page} yourself.")


def _report(settings: "Settings", name: str | None) -> tuple[Path, dict[str, Any]]:
    """Returns the page with the report of a run, and the JSON values of the command."""
    from components.run_report.report import HTML_FILE, JSON_FILE
    from pipeline.local.reports import find_report, find_reported_run, make_report

    run = find_reported_run(settings, name)
    folder = find_report(settings, run)
    if folder is None:
        with quiet_libraries():
            folder = make_report(settings, run)
    page, content = folder / HTML_FILE, folder / JSON_FILE
    missing = json.loads(content.read_bytes())["missing"]
    values = {"run_id": run.run_id, "outcome": run.outcome, "html": str(page), "json": str(content), "missing": missing}
    return page, values


def _compare(settings: "Settings", first: str, second: str) -> tuple[Path, dict[str, Any]]:
    """Returns a page that compares two runs, and the JSON values of the command."""
    from pipeline.local.comparison import compare_runs
    from pipeline.local.reports import write_comparison

    comparison = compare_runs(settings.metadata_file, first, second)
    page = write_comparison(settings, comparison)
    ids = [run.run_id for run in comparison.runs]
    return page, {"run_ids": ids, "html": str(page), "missing": comparison.missing}
