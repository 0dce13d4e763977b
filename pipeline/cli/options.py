"""What the `digits` commands share: options, settings, exit codes, JSON and tables."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

EXIT_FAILURE = 1
EXIT_WRONG_USE = 2
EXIT_REFUSED = 3

workspace_option = click.option(
    "--workspace", metavar="DIR", help="Folder for everything that runs write.  [default: ./workspace]"
)
config_option = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="TOML file.  [default: ./digits.toml, if it exists]",
)
profile_option = click.option("--profile", metavar="P", help="smoke (seconds), fast or default.")
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
) -> "Settings":
    """Builds the settings of a command from the values of its options.

    Raises:
        SettingsError: A key is unknown, a value is not allowed, or the file cannot be read.
    """
    from pipeline.settings.settings import load_settings, parse_assignments

    given = (("workspace", workspace), ("profile", profile), ("data.uri", data_uri))
    options = tuple(f"{key}={value}" for key, value in given if value is not None)
    return load_settings(parse_assignments(assignments + options), config)


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """Prints an expected error to standard error, one line per line of its message, and exits with its code."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError, SystemExit):
        raise  # click handles them.
    # Python evaluates these calls, which import for a second, only if there is another error.
    except _wrong_use() as error:
        _fail(str(error), EXIT_WRONG_USE)
    except _failures() as error:
        _fail(str(error), EXIT_FAILURE)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}; check the path, its permissions and the disk.", EXIT_FAILURE)


def _wrong_use() -> tuple[type[Exception], ...]:
    from pipeline.kubeflow.compile.checks import CompileError
    from pipeline.kubeflow.compile.parameters import WrongDeploymentError
    from pipeline.settings.settings import SettingsError
    from registry.publishing import WrongRequestError

    return CompileError, SettingsError, WrongDeploymentError, WrongRequestError


def _failures() -> tuple[type[Exception], ...]:
    from components.example_gen.sources.errors import DataError
    from pipeline.kubeflow.deploy.client import KubeflowError
    from pipeline.local.metadata import MetadataError
    from pipeline.local.runner import StepFailedError, WorkspaceInUseError
    from registry.labels import LabelError
    from registry.provenance import DamagedVersionError
    from registry.publishing import PublishingError
    from serving.client.client import ClientError

    return (
        ClientError,
        DamagedVersionError,
        DataError,
        KubeflowError,
        LabelError,
        MetadataError,
        PublishingError,
        StepFailedError,
        WorkspaceInUseError,
    )


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


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows of text below a header; a narrow terminal wraps lines instead of cutting cells."""
    from components.verdict import render_table

    click.echo(render_table(header, rows), nl=False)


def percent(share: float | None) -> str:
    """Formats a share of 0 to 1 as a percentage; None becomes an empty string."""
    return "" if share is None else f"{100 * share:.2f} %"
