"""`digits predict`: asks the model which digits images show."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from pipeline.cli.options import (
    EXIT_FAILURE,
    config_option,
    errors_to_exit_codes,
    model_option,
    print_json,
    settings_from_options,
    workspace_option,
)

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings
    from registry.versions import Version
    from serving.client.client import Client
    from serving.client.inputs import Inputs

_BATCH_SIZE = 32


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--url", metavar="URL", help="Ask a REST server, such as http://localhost:8501.")
@click.option("--grpc", "grpc_address", metavar="HOST:PORT", help="Ask a gRPC server, such as localhost:8500.")
@model_option
@click.option("--model-version", metavar="V", type=click.IntRange(min=0), help="Version of it.  [default: the newest]")
@click.option("--probabilities", is_flag=True, help="Print the probabilities of all ten digits.")
@click.option("--show", is_flag=True, help="Draw what the model saw, 28x28.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.option(
    "--output",
    metavar="FILE.csv",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the answers to a CSV file, of any number of images or TFRecords.",
)
@workspace_option
@config_option
def predict(
    files: tuple[str, ...],
    url: str | None,
    grpc_address: str | None,
    model: str | None,
    model_version: int | None,
    probabilities: bool,
    show: bool,
    as_json: bool,
    output: Path | None,
    workspace: str | None,
    config: Path | None,
) -> None:
    """Say which digits images show.

    FILE is an image (PNG, JPEG, GIF, BMP, WebP or TIFF of any size, dark on light or light on dark), a folder, which is
    searched for images, or - for standard input. With --output it may also be a TFRecord of raw tf.Examples
    (*.tfrecord*, *.gz), as the pipeline writes them; rows are in the order of the arguments, images first, and by name
    in a folder.

    Without --url and --grpc the newest version in the workspace is asked. Exit codes: 0 all answered, 1 an image or the
    model is bad, 2 wrong use.
    """
    from pipeline.beam.engine import beam_args

    _refuse_conflicts(url, grpc_address, show=show, as_json=as_json, output=output)
    with errors_to_exit_codes(), _client_errors_to_exit_codes():
        inputs = _find_inputs(files, output)
        settings = settings_from_options(config, workspace=workspace)
        open_client = _client_opener(settings, url, grpc_address, model, model_version)
        if output is not None:
            num_errors = _predict_to_file(inputs, output, open_client, probabilities, beam_args(settings))
        else:
            num_errors = _predict_to_terminal(inputs, open_client, probabilities, show=show, as_json=as_json)
    if num_errors:
        sys.exit(EXIT_FAILURE)


def _refuse_conflicts(
    url: str | None, grpc_address: str | None, *, show: bool, as_json: bool, output: Path | None
) -> None:
    if url is not None and grpc_address is not None:
        raise click.UsageError("--url and --grpc name two servers; give one of them.")
    if url is not None and not url.startswith(("http://", "https://")):
        raise click.BadParameter(
            f"{url!r}: expected http://HOST:PORT, such as http://localhost:8501.", param_hint="--url"
        )
    if grpc_address is not None and ("/" in grpc_address or ":" not in grpc_address):
        raise click.BadParameter(
            f"{grpc_address!r}: expected HOST:PORT without http://, such as localhost:8500.", param_hint="--grpc"
        )
    if show and (as_json or output is not None):
        raise click.UsageError("--show draws on the terminal; it does not go with --json or --output.")
    if as_json and output is not None:
        raise click.UsageError("--json prints, and --output writes a CSV file; give one of them.")
    if output is not None and not output.absolute().parent.is_dir():
        raise click.BadParameter(f"{output}: there is no folder {output.parent}.", param_hint="--output")


@contextmanager
def _client_errors_to_exit_codes() -> Iterator[None]:
    from serving.client.errors import ClientError

    try:
        yield
    except ClientError as error:
        raise click.ClickException(str(error)) from error


def _find_inputs(files: tuple[str, ...], output: Path | None) -> "Inputs":
    from serving.client.inputs import NoInputError, find_inputs

    try:
        inputs = find_inputs(files)
    except NoInputError as error:
        raise click.UsageError(str(error)) from error
    if inputs.record_files and output is None:
        raise click.UsageError(
            f"{inputs.record_files[0]}: a TFRecord holds many images; name a file for the answers, such as --output "
            "results.csv."
        )
    return inputs


def _client_opener(
    settings: "Settings", url: str | None, grpc_address: str | None, model: str | None, version: int | None
) -> "Callable[[], Client]":
    from serving.client.opening import open_grpc, open_local, open_rest

    name = model or settings.name
    if url is not None:
        return partial(open_rest, url, name, version)
    if grpc_address is not None:
        return partial(open_grpc, grpc_address, name, version)
    return partial(open_local, _pushed_version(settings.serving_root / name, version).directory)


def _pushed_version(serving_directory: Path, number: int | None) -> "Version":
    from registry.versions import list_versions, no_versions

    versions = list_versions(serving_directory)
    if not versions:
        raise click.ClickException(
            f"{no_versions(serving_directory)} Run `digits run`, name a model with --model, or a server with --url."
        )
    if number is None:
        return versions[-1]
    found = next((version for version in versions if version.number == number), None)
    if found is None:
        known = ", ".join(str(version.number) for version in versions)
        raise click.BadParameter(
            f"{number} is not in {serving_directory}; there are {known}.", param_hint="--model-version"
        )
    return found


def _predict_to_terminal(
    inputs: "Inputs", open_client: "Callable[[], Client]", probabilities: bool, *, show: bool, as_json: bool
) -> int:
    """Returns how many images got no answer."""
    from serving.client.batches import answer_inputs, read_inputs
    from serving.client.rendering import render
    from serving.client.report import answer_line, probabilities_line, result_values

    width = max(len(source) for source in inputs.images)
    values = []
    num_errors = 0
    # What TensorFlow says of each image that it refuses, it says to the command as well.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _libraries_silenced():
        client = open_client()
    with closing(client):
        for result in answer_inputs(read_inputs(inputs.images), client.predict, _BATCH_SIZE):
            if result.answer is None:
                num_errors += 1
                click.echo(f"Error: {result.item.source}: {result.error}", err=True)
            if as_json:
                values.append(result_values(result, with_probabilities=probabilities))
            elif result.answer is not None:
                click.echo(answer_line(result.item.source, result.answer, width))
                if probabilities:
                    click.echo(probabilities_line(result.answer))
                if show:
                    click.echo(render(client.normalize([result.item.content])[0]))
    if as_json:
        print_json(values)
    return num_errors


def _predict_to_file(
    inputs: "Inputs",
    output: Path,
    open_client: "Callable[[], Client]",
    probabilities: bool,
    beam_arguments: Sequence[str],
) -> int:
    """Returns how many images or records got no answer."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    with _libraries_silenced() as terminal:
        from serving.client.bulk import predict_to_csv

        console = Console(file=terminal)
        columns = (TextColumn("{task.completed:.0f} predicted"), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=None, start=False, rate="")

            def show_progress(num_results: int) -> None:
                # Loading Beam and the model is no part of the rate.
                if num_results and not progress.tasks[task].started:
                    progress.start_task(task)
                rate = f"{progress.tasks[task].speed or 0:.0f} per second"
                progress.update(task, completed=num_results, rate=rate)

            summary = predict_to_csv(
                inputs,
                output.absolute(),
                open_client,
                with_probabilities=probabilities,
                beam_arguments=beam_arguments,
                on_progress=show_progress,
            )
    click.echo(f"{output}: {summary.num_results} rows, {summary.num_errors} without an answer")
    return summary.num_errors


@contextmanager
def _libraries_silenced() -> Iterator[TextIO]:
    """Keeps off the terminal what TensorFlow and Beam say from Python and C++, which no setting of theirs does.

    Yields:
        Standard error.
    """
    from pipeline.local.display import library_output_to

    # click's own for tests are no files.
    with library_output_to(Path(os.devnull), sys.__stderr__ or sys.stderr) as terminal:
        yield terminal
