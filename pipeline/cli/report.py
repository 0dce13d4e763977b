"""The `digits` command that shows the report of a run."""

import json
from pathlib import Path

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


@click.command()
@click.argument("run", metavar="[RUN|VERSION]", required=False)
@click.option("--open", "opens", is_flag=True, help="Open the report in a browser.")
@workspace_option
@config_option
@json_option
def report(run: str | None, opens: bool, workspace: str | None, config: Path | None, as_json: bool) -> None:
    """Print the path of the report of a run.

    RUN is the start of a run's ID, which `digits runs --json` lists, VERSION the number of a version that it pushed;
    by default, the newest run. If the run wrote no report, because it failed or is of an earlier release, this command
    makes one of what there is.
    """
    from components.run_report.report import HTML_FILE, JSON_FILE
    from pipeline.local.reports import find_report, find_reported_run, make_report

    settings = settings_from_options(config, workspace=workspace)
    found = find_reported_run(settings, run)
    folder = find_report(settings, found)
    if folder is None:
        with quiet_libraries():
            folder = make_report(settings, found)
    page = folder / HTML_FILE
    if as_json:
        content = json.loads((folder / JSON_FILE).read_bytes())
        print_json(
            {
                "run_id": found.run_id,
                "outcome": found.outcome,
                "html": str(page),
                "json": str(folder / JSON_FILE),
                "missing": content["missing"],
            }
        )
    else:
        click.echo(page)
    if opens and click.launch(page.as_uri()) != 0:
        raise ExpectedError(f"No program opens web pages here; open {page} yourself.")
