"""`digits tune`: searches for better hyperparameters."""

import sys
from pathlib import Path

import click

from pipeline.cli.options import (
    EXIT_REFUSED,
    config_option,
    data_option,
    json_option,
    print_json,
    profile_option,
    run_values,
    set_option,
    settings_from_options,
    workspace_option,
)
from pipeline.cli.run import run_and_show

DEFAULT_TRIALS = 20
MANY_TRIALS = 10_000


@click.command()
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"End after N trials, with those of earlier searches.  [default: {DEFAULT_TRIALS}, or any with --minutes]",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="End before a trial with which the trials would probably take longer than M minutes.",
)
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run N trials at a time.  [default: up to 4, so that each has two cores; 1 with GPUs]",
)
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Same as --set trainer.epochs=N.")
@click.option("--max-images", type=click.IntRange(min=1), metavar="N", help="Train with N images.  [default: all]")
@data_option
@workspace_option
@profile_option
@config_option
@set_option
@json_option
def tune(
    trials: int | None,
    minutes: float | None,
    parallel: int | None,
    epochs: int | None,
    max_images: int | None,
    data: str | None,
    workspace: str | None,
    profile: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Search for better hyperparameters on train and eval.

    Searches learning rate, weight decay, label smoothing, width, depth and augmentation, except those that your
    settings set. The first trial has the values of the profile. The same command continues a search that was stopped.
    `digits run --tuned` uses the result. See docs/model.md.
    """
    from components.trainer.hyperparameters import Search
    from pipeline.settings.settings import load_contract
    from pipeline.settings.tuned import fixed_hyperparameters, tuned_hyperparameters

    # A search starts from the values of the profile, also after an earlier search.
    assignments += ("tuned=false", *([f"trainer.epochs={epochs}"] if epochs else []))
    settings = settings_from_options(config, assignments, workspace=workspace, profile=profile, data_uri=data)
    load_contract(settings)
    search = Search(
        folder=str(settings.tuning_directory / settings.name),
        max_trials=trials or (MANY_TRIALS if minutes else DEFAULT_TRIALS),
        max_seconds=60 * minutes if minutes else None,
        parallel=parallel,
        max_images=max_images,
        fixed=fixed_hyperparameters(settings),
    )
    result = run_and_show(settings, sys.stderr if as_json else sys.stdout, search)
    best = tuned_hyperparameters(result.trials[0]) if result.trials else {}
    if kept := best.keys() & set(search.fixed):
        click.echo(f"Not searched   {', '.join(sorted(kept))}: set in your settings", err=as_json)
    if best:
        click.echo(f"Best           {settings.tuned_file}; use it with `digits run --tuned`", err=as_json)
    if as_json:
        print_json({**run_values(result.run), "best": best, "file": str(settings.tuned_file), "trials": result.trials})
    if result.run.outcome == "refused":
        sys.exit(EXIT_REFUSED)
