"""The model that is measured where none is named."""

from pathlib import Path

import click

from registry.versions import list_versions

SERVING_DIRECTORY = Path("workspace", "serving", "digits")


def newest_version(serving_directory: Path = SERVING_DIRECTORY) -> Path:
    """Finds the folder of the newest pushed version.

    Raises:
        click.UsageError: There is none.
    """
    versions = list_versions(serving_directory)
    if not versions:
        raise click.UsageError(
            f"no version has been pushed to {serving_directory}; run `digits run` first, or name a folder with --model."
        )
    return versions[-1].directory
