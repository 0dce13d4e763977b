"""The `digits` commands that run the pipeline on this machine and list its runs."""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click
from filelock import FileLock

from pipeline.cli.options import (
    EXIT_FAILURE,
    EXIT_REFUSED,
    config_option,
    data_option,
    json_option,
    percent,
    print_json,
    print_table,
    profile_option,
    run_values,
    set_option,
    settings_from_options,
    tuned_option,
    workspace_option,
)

if TYPE_CHECKING:
    from components.trainer.hyperparameters import Search
    from pipeline.local.display import RunDisplay
    from pipeline.local.runner import RunResult
    from pipeline.settings.settings import Settings


@click.command()
@data_option
@workspace_option
@profile_option
@tuned_option
@config_option
@set_option
@click.option(
    "--accept-new-data",
    is_flag=True,
    help="Accept data that contradicts the model in production; same as --set evaluation.accept_new_data=true.",
)
@click.option("--verbose", is_flag=True, help="Also show the log of TFX, Beam and TensorFlow.")
@json_option
def run(
    data: str | None,
    workspace: str | None,
    profile: str | None,
    tuned: bool,
    config: Path | None,
    assignments: tuple[str, ...],
    accept_new_data: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Run the pipeline: ingest, validate, transform, train, gate, push."""
    from pipeline.settings.settings import load_contract

    assignments += ("evaluation.accept_new_data=true",) * accept_new_data
    settings = settings_from_options(
        config, assignments, workspace=workspace, profile=profile, data_uri=data, tuned=tuned
    )
    load_contract(settings)
    result = run_and_show(settings, sys.stderr if as_json else sys.stdout, verbose=verbose)
    if as_json:
        print_json(_result_values(result))
    if result.run.outcome == "refused":
        sys.exit(EXIT_REFUSED)


@click.command()
@workspace_option
@config_option
@click.option("--compare", "names", nargs=2, metavar="RUN RUN", help="Compare two runs instead.")
@json_option
def runs(workspace: str | None, config: Path | None, names: tuple[str, str] | None, as_json: bool) -> None:
    """List the runs of the workspace, oldest first, or compare two of them.

    RUN is the number of the version that a run pushed, or the start of its ID, such as 2026-01-02T03:04.
    """
    from pipeline.local.metadata import list_runs

    settings = settings_from_options(config, workspace=workspace)
    if names:
        from pipeline.cli.comparison import comparison_values, show_comparison
        from pipeline.local.comparison import compare_runs

        comparison = compare_runs(settings.metadata_file, *names)
        if as_json:
            print_json(comparison_values(comparison))
        else:
            show_comparison(comparison)
        return
    found = list_runs(settings.metadata_file)
    if as_json:
        print_json([run_values(each) for each in found])
        return
    if not found:
        click.echo(f"No pipeline has run in {settings.workspace} yet.")
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


@click.command()
@click.option(
    "--old-roots", is_flag=True, help="Also remove artifacts that a run moved aside because it had no records of them."
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed without removing it.")
@workspace_option
@config_option
@json_option
def clean(old_roots: bool, dry_run: bool, workspace: str | None, config: Path | None, as_json: bool) -> None:
    """Remove what killed and failed runs left behind.

    Keeps pushed versions, logs, and all artifacts that the cache or lineage needs. Fails while a run is in progress.
    """
    from pipeline.local.cleaning import find_leftovers, remove
    from pipeline.local.runner import workspace_lock

    settings = settings_from_options(config, workspace=workspace)
    found = []
    if settings.workspace.exists():
        with workspace_lock(settings.workspace):
            found = find_leftovers(settings, old_roots=old_roots)
            if not dry_run:
                remove(found, settings)
    num_bytes = sum(leftover.num_bytes for leftover in found)
    if as_json:
        removed = [
            {"path": str(leftover.path), "reason": leftover.reason, "bytes": leftover.num_bytes} for leftover in found
        ]
        print_json({"removed": removed, "bytes": num_bytes, "dry_run": dry_run})
        return
    verb = "would remove" if dry_run else "removed"
    for leftover in found:
        click.echo(f"{verb} {leftover.path}, {leftover.num_bytes / 1e6:.1f} MB: {leftover.reason}")
    click.echo(f"{verb} {num_bytes / 1e6:.1f} MB" if found else f"Nothing to clean in {settings.workspace}.")


def run_and_show(
    settings: "Settings", terminal: TextIO, search: "Search | None" = None, *, verbose: bool = False
) -> "RunResult":
    """Runs the pipeline, or a search for hyperparameters, and shows steps and result; the log goes to a file."""
    from rich.console import Console

    from pipeline.local.display import RunDisplay, following, library_output_to
    from pipeline.local.reports import find_reportable_run
    from pipeline.local.runner import StepFailedError, run_pipeline

    started = datetime.now()
    log_file = settings.log_directory / f"run-{started:%Y%m%d-%H%M%S-%f}.log"
    with library_output_to(log_file, terminal) as outer, _temporary_files_removed():
        console = Console(file=outer, highlight=False, markup=False)
        console.print(f"{settings.name}: {settings.data.uri}, profile {settings.profile}", soft_wrap=True, style="bold")
        display = RunDisplay(console)
        _stop_on_signals(display)
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
        try:
            with following(log_file, display.show_log) if verbose else nullcontext():
                result = run_pipeline(settings, display, search)
            display.show_result(result)
            if result.report:
                console.print(f"Report         {result.report}", soft_wrap=True)
            return result
        except KeyboardInterrupt as error:
            raise StepFailedError("Stopped before the first step; run again.") from error
        except Exception:
            logging.exception("The run failed.")
            if reportable := find_reportable_run(settings, started):
                # Without a name, `digits report` leaves out searches.
                name = f" {reportable.run_id}" if reportable.is_search else ""
                console.print(f"Report         `digits report{name}` shows what there is", soft_wrap=True)
            raise
        finally:
            display.stop()
            console.print(f"Log            {log_file}", soft_wrap=True)


def _stop_on_signals(display: "RunDisplay") -> None:
    """Makes Ctrl-C, SIGTERM and a closed terminal stop the run, and a second Ctrl-C or SIGTERM end the process."""
    stopping = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            display.progressed("stopping; press Ctrl-C again to end at once", transient=True)
            raise KeyboardInterrupt
        # A shell may repeat it.
        if number != signal.SIGHUP:
            display.stop()
            display.progressed(
                "ended; run again to continue; `digits clean` removes what this run has left", transient=False
            )
            os._exit(EXIT_FAILURE)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Commands in the background ignore SIGINT, and those below `nohup` SIGHUP.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


@contextmanager
def _temporary_files_removed() -> Iterator[None]:
    """Removes the temporary files of TFX and Beam; a lock protects them from `digits clean` until then."""
    from pipeline.local.cleaning import TEMPORARY_FOLDER

    before = tempfile.gettempdir()
    with (
        tempfile.TemporaryDirectory(prefix=TEMPORARY_FOLDER, ignore_cleanup_errors=True) as folder,
        FileLock(Path(folder, ".lock")),
    ):
        # Processes that a step starts read the variable.
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            yield
        finally:
            os.environ["TMPDIR"] = tempfile.tempdir = before


def _result_values(result: "RunResult") -> dict[str, Any]:
    return {
        **run_values(result.run),
        "class_accuracy": result.class_accuracy,
        "verdicts": {
            verdict.gate: {
                "passed": verdict.passed,
                "enforced": verdict.enforced,
                "accepted": verdict.accepted,
                "directory": str(directory),
            }
            for directory, verdict in result.verdicts.items()
        },
        "refusals": [
            {"gate": verdict.gate, **asdict(finding), "bound": finding.bound}
            for verdict in result.verdicts.values()
            for finding in (() if verdict.passed else verdict.refusals)
        ],
        "model": str(result.pushed_to) if result.pushed_to else None,
        "served_version": result.served_version,
        "report": str(result.report) if result.report else None,
    }
