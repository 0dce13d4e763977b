"""The pushed versions of a model, as TF Serving sees them."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.provenance import EXTRA_FOLDER, DamagedVersionError, model_fingerprint, read_provenance

SAVED_MODEL_FILE = "saved_model.pb"
"""What makes a folder a SavedModel."""

TRAIN_STATISTICS_FILE = f"{EXTRA_FOLDER}/train_statistics.pb"
"""Where a version keeps the statistics of the split that it has learnt from; a path in the version's folder."""

_MAX_NUMBER = 2**63 - 1


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
    return sorted(_complete_versions(serving_directory), key=lambda version: version.number)


def no_versions(serving_directory: Path) -> str:
    """Returns for people that a model has no version, and which models beside it have some, as a sentence."""
    folders = sorted(folder for folder in serving_directory.parent.glob("*") if list_versions(folder))
    others = f"; there are versions of {', '.join(folder.name for folder in folders)}" if folders else ""
    return f"{serving_directory}: no version of {serving_directory.name} has been pushed there yet{others}."


def find_baseline(serving_directory: Path, candidate_fingerprint: str) -> Version | None:
    """Finds the version that a model has to measure up to: the newest one that holds another model.

    Args:
        serving_directory: Folder of the model, with one sub-folder per version; it need not be there.
        candidate_fingerprint: `model_fingerprint` of the model that is to be compared.

    Returns:
        The version, or None where no other model has been pushed.
    """
    newest_first = reversed(list_versions(serving_directory))
    return next((version for version in newest_first if version_fingerprint(version) != candidate_fingerprint), None)


def find_other_data(serving_directory: Path, train_statistics: bytes) -> tuple[Version, bytes] | None:
    """Finds the version that data has to measure up to: the newest one that learnt from other data.

    Args:
        serving_directory: Folder of the model, with one sub-folder per version; it need not be there.
        train_statistics: File of the train statistics of the data that is to be compared; if empty, that of no version
            is the same.

    Returns:
        The version and its `TRAIN_STATISTICS_FILE`, or None where no version tells that it learnt from other data.
    """
    for version in reversed(list_versions(serving_directory)):
        # Versions may have none, and may be removed while we look.
        with suppress(FileNotFoundError):
            content = (version.directory / TRAIN_STATISTICS_FILE).read_bytes()
            if content != train_statistics:
                return version, content
    return None


def version_fingerprint(version: Version) -> str:
    """Returns the `model_fingerprint` of a version: from its provenance, or, where it has none, from its files."""
    try:
        provenance = read_provenance(version.directory)
    except DamagedVersionError:
        provenance = None
    return provenance.model_fingerprint if provenance else model_fingerprint(version.directory)


def version_number(name: str) -> int | None:
    """Returns the version that a folder of this name holds, or None: a server looks at int64 numbers alone."""
    number = int(name) if name.isascii() and name.isdecimal() else None
    return number if number is not None and number <= _MAX_NUMBER else None


def read_version(directory: Path) -> Version:
    """Returns the complete version in a folder.

    Args:
        directory: Its folder, whose name is its number.

    Raises:
        FileNotFoundError: There is none, or it has just been removed.
    """
    return Version(
        model=directory.parent.name,
        number=int(directory.name),
        directory=directory,
        pushed=datetime.fromtimestamp((directory / SAVED_MODEL_FILE).stat().st_mtime, UTC),
        num_bytes=sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
    )


def _complete_versions(serving_directory: Path) -> Iterator[Version]:
    for file in serving_directory.glob(f"*/{SAVED_MODEL_FILE}"):
        # Somebody may prune while we look.
        with suppress(FileNotFoundError):
            if version_number(file.parent.name) is not None:
                yield read_version(file.parent)
