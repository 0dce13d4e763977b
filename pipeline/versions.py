"""The pushed versions of a model, as TF Serving sees them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Version:
    """One pushed version.

    Attributes:
        model: Name of the model.
        number: Its version number, the name of its directory.
        directory: Where it is.
        pushed: When it was pushed.
        num_bytes: Size of all its files.
    """

    model: str
    number: int
    directory: Path
    pushed: datetime
    num_bytes: int


def list_versions(serving_directory: Path) -> list[Version]:
    """Returns the versions that a server would load, the oldest first.

    Args:
        serving_directory: Folder of the model, with one sub-folder per version; it need not be there.
    """
    if not serving_directory.is_dir():
        return []
    complete = [path.parent for path in serving_directory.glob("*/saved_model.pb") if path.parent.name.isdecimal()]
    return [_version(directory) for directory in sorted(complete, key=lambda path: int(path.name))]


def _version(directory: Path) -> Version:
    return Version(
        model=directory.parent.name,
        number=int(directory.name),
        directory=directory,
        pushed=datetime.fromtimestamp((directory / "saved_model.pb").stat().st_mtime, UTC),
        num_bytes=sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
    )
