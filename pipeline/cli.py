"""The `digits` command: arguments in, exit codes out; heavy imports happen in the commands that need them."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pipeline.printing import percent, print_json, print_table, result_values, run_values

if TYPE_CHECKING:
    from pipeline.local_runner import RunResult
    from pipeline.metadata import Run
    from pipeline.settings import Settings

EXIT_FAILURE = 1
EXIT_WRONG_USE = 2
EXIT_REFUSED = 3

_workspace_option = click.option(
    "--workspace", metavar="DIR", help="Folder of everything that runs write.  [default: ./workspace]"
)
_config_option = click.option(
    "--config", metavar="FILE", type=click.Path(path_type=Path), help="TOML file.  [default: ./digits.toml, if there]"
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


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
@_workspace_option
@click.option("--profile", metavar="P", help="smoke (seconds), fast or default.")
@_config_option
@click.option("--set", "assignments", metavar="SECTION.KEY=VALUE", multiple=True, help="Set one setting; repeatable.")
@_json_option
def run(
    data: str | None,
    workspace: str | None,
    profile: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the pipeline: ingest, validate, transform, train, gate, push."""
    with _errors_to_exit_codes():
        settings = _load_settings(config, assignments, workspace=workspace, profile=profile, data_uri=data)
        result = _run_shown(settings, sys.stderr if as_json else sys.stdout)
    if as_json:
        print_json(result_values(result))
    if result.run.outcome == "refused":
        sys.exit(EXIT_REFUSED)


@main.command()
@_workspace_option
@_config_option
@_json_option
def versions(workspace: str | None, config: Path | None, as_json: bool) -> None:
    """List the pushed versions of the models, the oldest first."""
    with _errors_to_exit_codes():
        from pipeline.versions import list_versions

        settings = _load_settings(config, workspace=workspace)
        models = sorted(settings.serving_root.iterdir()) if settings.serving_root.is_dir() else []
        found = [version for model in models for version in list_versions(model)]
        accuracies = _accuracy_of_versions(settings.metadata_file)
    if as_json:
        print_json(
            [
                {
                    "model": version.model,
                    "version": version.number,
                    "pushed": version.pushed.isoformat(),
                    "bytes": version.num_bytes,
                    "test_accuracy": accuracies.get((version.model, version.number)),
                    "directory": str(version.directory),
                }
                for version in found
            ]
        )
    elif not found:
        click.echo(f"No version has been pushed to {settings.serving_root} yet.")
    else:
        rows = [
            (
                version.model,
                str(version.number),
                f"{version.pushed.astimezone():%Y-%m-%d %H:%M:%S}",
                f"{version.num_bytes / 1e6:.1f} MB",
                percent(accuracies.get((version.model, version.number))),
            )
            for version in found
        ]
        print_table(("model", "version", "pushed", "size", "accuracy"), rows)
        click.echo(f"{settings.serving_root} (a server loads the last version of a model)")


@main.command()
@_workspace_option
@_config_option
@_json_option
def runs(workspace: str | None, config: Path | None, as_json: bool) -> None:
    """List the runs of the workspace, the oldest first."""
    with _errors_to_exit_codes():
        settings = _load_settings(config, workspace=workspace)
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


@main.command("verify-data")
@click.argument("uri")
@click.option("--span", type=click.IntRange(min=0), help="Span to read, where the URI holds {SPAN}; newest if not set.")
@_json_option
def verify_data(uri: str, span: int | None, as_json: bool) -> None:
    """Read all of the data at URI and say what is in it, or what is wrong with it."""
    with _errors_to_exit_codes():
        from components.example_gen.sources import open_source
        from components.example_gen.sources.spans import resolve_span
        from components.example_gen.sources.verification import verify
        from components.features import NUM_CLASSES

        found_uri, found_span = resolve_span(uri, span)
        summary = verify(open_source(found_uri))
    if as_json:
        print_json({"uri": found_uri, "span": found_span, **vars(summary)})
        return
    click.echo(f"{found_uri}: {summary.format}, {len(summary.files)} file(s), nothing wrong")
    click.echo(f"pixels {summary.min_pixel} to {summary.max_pixel}, SHA-256 {summary.fingerprint}\n")
    parts = summary.counts.values()
    rows = [(str(digit), *(str(counts[digit]) for counts in parts)) for digit in range(NUM_CLASSES)]
    print_table(("digit", *summary.counts), [*rows, ("all", *(str(sum(counts)) for counts in parts))])


def _load_settings(
    config: Path | None,
    assignments: tuple[str, ...] = (),
    *,
    workspace: str | None = None,
    profile: str | None = None,
    data_uri: str | None = None,
) -> "Settings":
    from pipeline.settings import load_settings, parse_assignments

    given = (("workspace", workspace), ("profile", profile), ("data.uri", data_uri))
    options = tuple(f"{key}={value}" for key, value in given if value is not None)
    return load_settings(parse_assignments(assignments + options), config)


def _run_shown(settings: "Settings", terminal: Any) -> "RunResult":
    from rich.console import Console

    from pipeline.local_runner import run_pipeline
    from pipeline.run_display import RunDisplay, library_output_to

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


@contextmanager
def _errors_to_exit_codes() -> Iterator[None]:
    from components.example_gen.sources import DataError
    from pipeline.local_runner import StepFailedError, WorkspaceInUseError
    from pipeline.metadata import MetadataError
    from pipeline.settings import SettingsError

    try:
        yield
    except SettingsError as error:
        _fail(str(error), EXIT_WRONG_USE)
    except (DataError, MetadataError, StepFailedError, WorkspaceInUseError) as error:
        _fail(str(error), EXIT_FAILURE)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}; check the path, its permissions and the disk.", EXIT_FAILURE)


def _fail(message: str, exit_code: int) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"Error: {line}", err=True)
    sys.exit(exit_code)


def _list_runs(metadata_file: Path) -> "list[Run]":
    from pipeline.metadata import list_runs, open_metadata

    return list_runs(open_metadata(metadata_file)) if metadata_file.exists() else []


def _accuracy_of_versions(metadata_file: Path) -> dict[tuple[str, int], float]:
    known = _list_runs(metadata_file)
    return {
        (run.pipeline, run.version): run.test_accuracy
        for run in known
        if run.version is not None and run.test_accuracy is not None
    }


if __name__ == "__main__":
    main()
