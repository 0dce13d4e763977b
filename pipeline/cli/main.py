"""The `digits` command: arguments in, exit codes out; heavy imports happen in the commands that need them."""

import logging
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.compile import compile_pipeline
from pipeline.cli.data import verify_data
from pipeline.cli.deploy import deploy
from pipeline.cli.label import label
from pipeline.cli.options import (
    EXIT_REFUSED,
    config_option,
    errors_to_exit_codes,
    json_option,
    settings_from_options,
    workspace_option,
)
from pipeline.cli.predict import predict
from pipeline.cli.printing import percent, print_json, print_table, result_values, run_values
from pipeline.cli.serve import serve
from pipeline.cli.versions import prune, rollback, versions

if TYPE_CHECKING:
    from pipeline.local.metadata import Run
    from pipeline.local.runner import RunResult
    from pipeline.settings.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="digit-classifier")
def main() -> None:
    """Train, gate and push a digit classifier.

    Settings come, in rising order, from defaults, the profile, a TOML file, the environment (DIGITS_SECTION__KEY) and
    the command line. Exit codes: 0 pushed or nothing to do, 2 wrong use or configuration, 3 refused by a gate, 1
    anything else.
    """


@main.command()
@click.option("--data", metavar="URI", help="npz, IDX, image folder or CSV; may hold {SPAN}.  [default: MNIST]")
@workspace_option
@click.option("--profile", metavar="P", help="smoke (seconds), fast or default.")
@config_option
@click.option("--set", "assignments", metavar="SECTION.KEY=VALUE", multiple=True, help="Set one setting; repeatable.")
@json_option
def run(
    data: str | None,
    workspace: str | None,
    profile: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the pipeline: ingest, validate, transform, train, gate, push."""
    with errors_to_exit_codes():
        settings = settings_from_options(config, assignments, workspace=workspace, profile=profile, data_uri=data)
        result = _run_shown(settings, sys.stderr if as_json else sys.stdout)
    if as_json:
        print_json(result_values(result))
    if result.run.outcome == "refused":
        sys.exit(EXIT_REFUSED)


@main.command()
@workspace_option
@config_option
@json_option
def runs(workspace: str | None, config: Path | None, as_json: bool) -> None:
    """List the runs of the workspace, the oldest first."""
    with errors_to_exit_codes():
        settings = settings_from_options(config, workspace=workspace)
        found = _list_runs(settings.metadata_file)
    if not found and not as_json:
        click.echo(f"No pipeline has run in {settings.workspace} yet.")
        return
    if as_json:
        print_json([run_values(each) for each in found])
        return
    rows = [
        (
            f"{each.started:%Y-%m-%d %H:%M}",
            each.pipeline,
            each.outcome,
            f"{each.seconds:.0f} s",
            f"{sum(step.state == 'ran' for step in each.steps)} of {len(each.steps)}",
            percent(each.test_accuracy),
            "" if each.version is None else str(each.version),
        )
        for each in found
    ]
    print_table(("started", "pipeline", "outcome", "took", "steps run", "accuracy", "version"), rows)


def _run_shown(settings: "Settings", terminal: Any) -> "RunResult":
    from rich.console import Console

    from pipeline.local.display import RunDisplay, library_output_to
    from pipeline.local.runner import run_pipeline

    log_file = settings.log_directory / f"run-{datetime.now():%Y%m%d-%H%M%S-%f}.log"
    with library_output_to(log_file, terminal) as outer:
        console = Console(file=outer, highlight=False, markup=False)
        console.print(f"{settings.name}: {settings.data.uri}, profile {settings.profile}", soft_wrap=True, style="bold")
        display = RunDisplay(console)
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
        try:
            result = run_pipeline(settings, display)
            display.show_result(result)
        except Exception:
            logging.exception("The run failed.")
            raise
        finally:
            display.stop()
            console.print(f"Log            {log_file}", soft_wrap=True)
    return result


def _list_runs(metadata_file: Path) -> "list[Run]":
    from pipeline.local.metadata import list_runs, open_metadata

    return list_runs(open_metadata(metadata_file)) if metadata_file.exists() else []


for _command in (compile_pipeline, deploy, versions, rollback, prune, label, predict, serve, verify_data):
    main.add_command(_command)


if __name__ == "__main__":
    main()
