"""What the `digits` commands share: options, settings, exit codes, JSON and tables."""

import ipaddress
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from registry.errors import ExpectedError

if TYPE_CHECKING:
    from pipeline.local.metadata import Run
    from pipeline.settings.settings import Settings

EXIT_FAILURE = 1
EXIT_REFUSED = 3

data_option = click.option(
    "--data", metavar="URI", help="Image folders, npz, IDX, CSV or Parquet; may contain {SPAN}.  [default: MNIST]"
)
image_option = click.option("--image", metavar="REF", help="Image for all steps; same as --set kubeflow.image=REF.")
workspace_option = click.option(
    "--workspace", metavar="DIR", help="Folder for all output of runs.  [default: ./workspace]"
)
config_option = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="TOML file.  [default: ./digits.toml, if it exists]",
)
profile_option = click.option(
    "--profile", metavar="P", help="Set of defaults: smoke (seconds of training), fast (two epochs) or default."
)
tuned_option = click.option(
    "--tuned",
    is_flag=True,
    help="Train with the hyperparameters that `digits tune` has found; same as --set tuned=true.",
)
set_option = click.option(
    "--set", "assignments", metavar="SECTION.KEY=VALUE", multiple=True, help="Set one setting; repeatable."
)
model_option = click.option("--model", metavar="NAME", help="Name of the model.  [default: the setting `name`]")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def settings_from_options(
    config: Path | None,
    assignments: tuple[str, ...] = (),
    *,
    workspace: str | None = None,
    profile: str | None = None,
    data_uri: str | None = None,
    image: str | None = None,
    tuned: bool = False,
) -> "Settings":
    """Builds the settings of a command from the values of its options.

    Raises:
        SettingsError: A key is unknown, a value is not allowed, or the file cannot be read.
    """
    from pipeline.settings.settings import load_settings, parse_assignments

    given = (("workspace", workspace), ("profile", profile), ("data.uri", data_uri), ("kubeflow.image", image))
    options = tuple(f"{key}={value}" for key, value in given if value is not None) + ("tuned=true",) * tuned
    return load_settings(parse_assignments(assignments + options), config)


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """Prints an expected error to standard error, one line per line of its message, and exits with its code."""
    try:
        yield
    except BrokenPipeError:
        raise  # click handles it.
    except ExpectedError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}; check the path, its permissions and the disk.", EXIT_FAILURE)


def _fail(message: str, exit_code: int) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"Error: {line}", err=True)
    sys.exit(exit_code)


@contextmanager
def quiet_libraries() -> Iterator[TextIO]:
    """Discards the output of Python and C++ libraries, and yields standard error."""
    from pipeline.local.display import library_output_to

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The streams that click uses in tests are not files.
    with library_output_to(Path(os.devnull), sys.__stderr__ or sys.stderr) as terminal:
        yield terminal


def print_json(value: Any) -> None:
    """Prints a value as indented JSON."""
    click.echo(json.dumps(value, indent=2))


def run_values(run: "Run") -> dict[str, Any]:
    """Returns the JSON values of a run."""
    return {**asdict(run), "started": run.started.isoformat()}


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows of text below a header; a narrow terminal wraps lines instead of cutting cells."""
    from components.verdict import render_table

    click.echo(render_table(header, rows), nl=False)


def percent(share: float | None) -> str:
    """Formats a share of 0 to 1 as a percentage; None becomes an empty string."""
    return "" if share is None else f"{100 * share:.2f} %"


def is_loopback(host: str) -> bool:
    """Returns whether a host name or address is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
