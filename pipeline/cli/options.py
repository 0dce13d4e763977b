"""What the commands of `digits` have in common: options, the settings that come from them, and exit codes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

EXIT_FAILURE = 1
EXIT_WRONG_USE = 2
EXIT_REFUSED = 3

workspace_option = click.option(
    "--workspace", metavar="DIR", help="Folder of everything that runs write.  [default: ./workspace]"
)
config_option = click.option(
    "--config", metavar="FILE", type=click.Path(path_type=Path), help="TOML file.  [default: ./digits.toml, if there]"
)
model_option = click.option("--model", metavar="NAME", help="Name of the model.  [default: `name` of the settings]")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def settings_from_options(
    config: Path | None,
    assignments: tuple[str, ...] = (),
    *,
    workspace: str | None = None,
    profile: str | None = None,
    data_uri: str | None = None,
) -> "Settings":
    """Builds the settings of a command.

    Args:
        config: What `--config` says.
        assignments: What `--set` says.
        workspace: What `--workspace` says.
        profile: What `--profile` says.
        data_uri: What `--data` says.

    Raises:
        SettingsError: A key is unknown, a value is not allowed, or the file cannot be read.
    """
    from pipeline.settings.settings import load_settings, parse_assignments

    given = (("workspace", workspace), ("profile", profile), ("data.uri", data_uri))
    options = tuple(f"{key}={value}" for key, value in given if value is not None)
    return load_settings(parse_assignments(assignments + options), config)


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """Ends the command with one line for people, and an exit code for programs, where something is wrong."""
    try:
        yield
    # What these calls import takes a second, which only a command that fails has to wait.
    except _wrong_use() as error:
        _fail(str(error), EXIT_WRONG_USE)
    except _failures() as error:
        _fail(str(error), EXIT_FAILURE)
    except BrokenPipeError:
        raise  # Whoever read the output wants no more of it, which click takes for an end, not for an error.
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}; check the path, its permissions and the disk.", EXIT_FAILURE)


def _wrong_use() -> tuple[type[Exception], ...]:
    from pipeline.kubeflow.compile.checks import CompileError
    from pipeline.kubeflow.deploy.errors import WrongDeploymentError
    from pipeline.settings.settings import SettingsError
    from registry.publishing import WrongRequestError

    return CompileError, SettingsError, WrongDeploymentError, WrongRequestError


def _failures() -> tuple[type[Exception], ...]:
    from components.example_gen.sources import DataError
    from pipeline.kubeflow.deploy.errors import KubeflowError
    from pipeline.local.metadata import MetadataError
    from pipeline.local.runner import StepFailedError, WorkspaceInUseError
    from registry.labels import LabelError
    from registry.provenance import DamagedVersionError
    from registry.publishing import PublishingError

    return (
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
