"""`digits predict`: classifies images and records with a pushed or served model."""

import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from components.features import MAX_PIXEL
from pipeline.cli.options import (
    EXIT_FAILURE,
    config_option,
    model_option,
    print_json,
    quiet_libraries,
    settings_from_options,
    workspace_option,
)
from registry.signatures import MODELS_PATH, STATUS_BLANK, STATUS_OK

if TYPE_CHECKING:
    import numpy as np

    from pipeline.settings.settings import Settings
    from serving.client.client import Answer, Client, Result
    from serving.client.inputs import Inputs

_BATCH_SIZE = 32
_BLANK_NOTE = "blank: there is no ink in it"
_SHADES = " ░▒▓█"
# A character is about twice as high as wide.
_CHARACTERS_PER_PIXEL = 2
_FRAME_CHARACTERS = 2


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--url", metavar="URL", help="Use a REST server, such as http://localhost:8501; may name the model.")
@click.option("--grpc", "grpc_address", metavar="HOST:PORT", help="Use a gRPC server, such as localhost:8500.")
@model_option
@click.option(
    "--model-version", metavar="V", type=click.IntRange(min=0), help="Version of the model.  [default: newest]"
)
@click.option("--probabilities", is_flag=True, help="Print the probabilities of all classes.")
@click.option("--show", is_flag=True, help="Draw the image as the model sees it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.option(
    "--output",
    metavar="FILE.csv",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the predictions to a CSV file, for any number of images or TFRecords.",
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
    """Classify images.

    FILE is an image (PNG, JPEG, GIF, BMP, WebP, TIFF, PGM or PPM of any size), a folder, or - for standard input. With
    --output, it can also be a TFRecord file of raw tf.Examples (*.tfrecord*, *.gz), as written by the pipeline. The
    rows of the CSV file follow the order of the arguments, images first; files in a folder are sorted by name.

    Without --url or --grpc, loads the newest version in the workspace. Exit codes: 0 success, 1 an image or the model
    failed, 2 invalid usage.
    """
    _refuse_conflicts(url, grpc_address, show=show, as_json=as_json, output=output)
    from serving.client.inputs import find_inputs

    inputs = find_inputs(files)
    if inputs.num_others:
        click.echo(f"Skipped {inputs.num_others} file(s) that are not images.", err=True)
    if inputs.record_files and output is None:
        raise click.UsageError(
            f"{inputs.record_files[0]}: a TFRecord contains many images; write the predictions to a file, such as "
            "--output results.csv."
        )
    settings = settings_from_options(config, workspace=workspace)
    with quiet_libraries():
        open_client = _client_opener(settings, url, grpc_address, model, model_version)
    if output is None:
        num_errors = _predict_to_terminal(inputs, open_client, probabilities, show=show, as_json=as_json)
    else:
        num_errors = _predict_to_file(inputs, output, open_client, probabilities, settings)
    if num_errors:
        sys.exit(EXIT_FAILURE)


def _refuse_conflicts(
    url: str | None, grpc_address: str | None, *, show: bool, as_json: bool, output: Path | None
) -> None:
    if url is not None and grpc_address is not None:
        raise click.UsageError("--url and --grpc name two servers; use one of them.")
    if url is not None and not url.startswith(("http://", "https://")):
        raise click.BadParameter(
            f"{url!r}: expected http://HOST:PORT, such as http://localhost:8501.", param_hint="--url"
        )
    if grpc_address is not None and ("/" in grpc_address or ":" not in grpc_address):
        raise click.BadParameter(
            f"{grpc_address!r}: expected HOST:PORT without http://, such as localhost:8500.", param_hint="--grpc"
        )
    if show and (as_json or output is not None):
        raise click.UsageError("--show draws on the terminal; do not use it with --json or --output.")
    if as_json and output is not None:
        raise click.UsageError("--json prints, and --output writes a CSV file; use one of them.")
    if output is not None and not output.absolute().parent.is_dir():
        raise click.BadParameter(f"{output}: there is no folder {output.parent}.", param_hint="--output")


def _client_opener(
    settings: "Settings", url: str | None, grpc_address: str | None, model: str | None, version: int | None
) -> "Callable[[], Client]":
    """Returns a picklable function that opens a client; imports what it needs, which may be TensorFlow."""
    name = model or settings.name
    if url is None and grpc_address is None and model is None:
        name = _pushed_model(settings)
    if url is not None:
        from serving.client.rest_client import RestClient

        # As `digits serve` prints it.
        server, _, path = url.partition(f"{MODELS_PATH}/")
        named = path.partition(":")[0].partition("/")[0]
        return partial(RestClient, server, model or named or name, version)
    if grpc_address is not None:
        from serving.client.grpc_client import GrpcClient

        return partial(GrpcClient, grpc_address, name, version)
    from registry.publishing import existing_version, usable_version

    newest = existing_version(settings.serving_root / name, version)
    found = usable_version(settings.serving_root / name, version, settings.trust_policy)
    if found != newest:
        refusal = settings.trust_policy.refusal(newest.directory)
        click.echo(f"Warning: using version {found.number} instead: {refusal}", err=True)
    from serving.client.local_client import LocalClient

    return partial(LocalClient, found.directory)


def _pushed_model(settings: "Settings") -> str:
    """Returns the name of the model, or of that of the smoke profile if only this profile has pushed a version."""
    from pipeline.settings.settings import SMOKE_SUFFIX
    from registry.versions import list_versions

    smoke_name = f"{settings.name}{SMOKE_SUFFIX}"
    if list_versions(settings.serving_directory) or not list_versions(settings.serving_root / smoke_name):
        return settings.name
    click.echo(f"{settings.name} has no version yet; using {smoke_name}, pushed by the smoke profile.", err=True)
    return smoke_name


def _predict_to_terminal(
    inputs: "Inputs", open_client: "Callable[[], Client]", probabilities: bool, *, show: bool, as_json: bool
) -> int:
    """Returns the number of images without an answer."""
    from rich.cells import cell_len, set_cell_size

    from serving.client.client import predict_inputs
    from serving.client.inputs import read_images

    names = {source: click.format_filename(source) for source in inputs.images}
    width = max(map(cell_len, names.values()))
    values = []
    num_errors = 0
    with quiet_libraries():
        client = open_client()
    with closing(client):
        for result in predict_inputs(read_images(inputs.images), client.predict, _BATCH_SIZE):
            name = names[result.item.source]
            if result.answer is None:
                num_errors += 1
                click.echo(f"Error: {name}: {result.error}", err=True)
            if as_json:
                values.append(_json_values(result, probabilities))
            elif result.answer is not None:
                click.echo(f"{set_cell_size(name, width)}  {_describe(result.answer)}")
                if probabilities:
                    click.echo(_list_probabilities(result.answer))
                if show:
                    click.echo(_draw(client.normalize([result.item.content])[0]))
    if as_json:
        print_json(values)
    return num_errors


def _describe(answer: "Answer") -> str:
    from rich.cells import cell_len, set_cell_size

    if answer.status == STATUS_BLANK:
        return f"-  {_BLANK_NOTE}"
    note = "" if answer.status == STATUS_OK else answer.status
    label = set_cell_size(answer.label, max(map(cell_len, answer.classes)))
    return f"{label}  {100 * answer.confidence:5.1f} %  {note}".rstrip()


def _list_probabilities(answer: "Answer") -> str:
    """Returns the probabilities of all classes, in as many columns as fit on the terminal."""
    from rich.columns import Columns
    from rich.console import Console
    from rich.text import Text

    console = Console(width=_terminal_width(), color_system=None)
    shares = zip(answer.classes, answer.probabilities, strict=True)
    with console.capture() as capture:
        console.print(Columns([Text(f"{name}: {100 * share:.1f} %") for name, share in shares], padding=(0, 3)))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _terminal_width() -> int:
    return shutil.get_terminal_size().columns


def _draw(pixels: "np.ndarray") -> str:
    """Draws an image in characters, with a frame, no larger than the terminal.

    Args:
        pixels: float[height,width], or float[height,width,3] in color, 0 black to 255 white.
    """
    import numpy as np
    from PIL import Image

    image = Image.fromarray(pixels.clip(0, MAX_PIXEL).round().astype(np.uint8)).convert("L")
    side = max((_terminal_width() - _FRAME_CHARACTERS) // _CHARACTERS_PER_PIXEL, 1)
    image.thumbnail((side, side), Image.Resampling.BOX)
    shades = (np.asarray(image) / MAX_PIXEL * (len(_SHADES) - 1)).round().astype(int)
    lines = ["".join(_CHARACTERS_PER_PIXEL * _SHADES[shade] for shade in row) for row in shades]
    edge = "─" * len(lines[0])
    return "\n".join([f"┌{edge}┐", *(f"│{line}│" for line in lines), f"└{edge}┘"])


def _json_values(result: "Result", with_probabilities: bool) -> dict[str, Any]:
    answer = result.answer
    if answer is None:
        return {"source": result.item.source, "error": result.error}
    values = {"source": result.item.source, **vars(answer)}
    shares = dict(zip(values.pop("classes"), values.pop("probabilities"), strict=True))
    return {**values, "probabilities": shares} if with_probabilities else values


def _predict_to_file(
    inputs: "Inputs", output: Path, open_client: "Callable[[], Client]", probabilities: bool, settings: "Settings"
) -> int:
    """Returns the number of images or records without an answer."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from pipeline.beam.options import beam_args

    with quiet_libraries() as terminal:
        from serving.client.bulk import predict_to_csv

        console = Console(file=terminal)
        columns = (TextColumn("{task.completed:.0f} predicted"), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
        with Progress(
            *columns,
            console=console,
            transient=True,
            # Otherwise it prints what libraries log.
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not console.is_terminal,
        ) as progress:
            task = progress.add_task("", total=None, start=False, rate="")

            def show_progress(num_results: int) -> None:
                # The rate leaves out the time to load Beam and the model.
                if num_results and not progress.tasks[task].started:
                    progress.start_task(task)
                rate = f"{progress.tasks[task].speed or 0:.0f} per second"
                progress.update(task, completed=num_results, rate=rate)

            summary = predict_to_csv(
                inputs,
                output.absolute(),
                open_client,
                with_probabilities=probabilities,
                beam_arguments=beam_args(settings),
                on_progress=show_progress,
            )
    click.echo(f"{click.format_filename(output)}: {summary.num_results} rows, {summary.num_errors} without an answer")
    return summary.num_errors
