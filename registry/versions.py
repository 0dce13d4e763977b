"""The pushed versions of a model, as TF Serving sees them."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.provenance import EXTRA_FOLDER, DamagedVersionError, model_fingerprint, read_provenance
from registry.signing import State, TrustPolicy

SAVED_MODEL_FILE = "saved_model.pb"
"""File that makes a folder a SavedModel."""

TRAIN_STATISTICS_FILE = f"{EXTRA_FOLDER}/train_statistics.pb"
"""Statistics of the train split of a version's data; a path in the version's folder."""

MAX_NUMBER = 2**63 - 1
"""The highest version number; TF Serving reads int64."""


@dataclass(frozen=True)
class Version:
    """One pushed version: model name, version number, folder, time of the push, and total size of its files."""

    model: str
    number: int
    directory: Path
    pushed: datetime
    num_bytes: int


def list_versions(serving_directory: Path) -> list[Version]:
    """Returns the versions that a server would load, oldest first.

    Args:
        serving_directory: Folder of the model, with one subfolder per version; it need not exist.
    """
    versions = []
    for file in serving_directory.glob(f"*/{SAVED_MODEL_FILE}"):
        # Another process may prune at the same time.
        with suppress(FileNotFoundError):
            if version_number(file.parent.name) is not None:
                versions.append(read_version(file.parent))
    return sorted(versions, key=lambda version: version.number)


def read_version(directory: Path) -> Version:
    """Returns the complete version in a folder.

    Args:
        directory: Folder of the version, named by its number.

    Raises:
        FileNotFoundError: The version does not exist.
    """
    return Version(
        model=directory.parent.name,
        number=int(directory.name),
        directory=directory,
        pushed=_pushed(directory),
        num_bytes=sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
    )


def _pushed(directory: Path) -> datetime:
    # Files have the time of their last copy.
    copied = datetime.fromtimestamp((directory / SAVED_MODEL_FILE).stat().st_mtime, UTC)
    with suppress(DamagedVersionError):
        if provenance := read_provenance(directory):
            return provenance.published
    return copied


def version_number(name: str) -> int | None:
    """Returns the version number in a folder's name, or None."""
    number = int(name) if name.isascii() and name.isdecimal() else None
    return number if number is not None and number <= MAX_NUMBER else None


def newest_usable(serving_directory: Path, policy: TrustPolicy) -> Version | None:
    """Returns the newest version that may be used, or None.

    Args:
        serving_directory: Folder of the model, with one subfolder per version; it need not exist.
        policy: Which versions may be used.
    """
    newest_first = reversed(list_versions(serving_directory))
    return next((version for version in newest_first if policy.refusal(version.directory) is None), None)


def find_baseline(serving_directory: Path, candidate_fingerprint: str, policy: TrustPolicy) -> Version | None:
    """Finds the baseline of a model: the newest version that holds another model and that the policy admits.

    Args:
        serving_directory: Folder of the model, with one subfolder per version; it need not exist.
        candidate_fingerprint: `model_fingerprint` of the candidate.
        policy: Which versions may be the baseline.

    Returns:
        The version, or None if no other model has been pushed.
    """
    for version in reversed(list_versions(serving_directory)):
        if policy.admits_baseline(version.directory) and version_fingerprint(version) != candidate_fingerprint:
            return version
    return None


def is_accepted(serving_directory: Path, candidate_fingerprint: str, policy: TrustPolicy) -> bool:
    """Returns whether a candidate is in production because a person decided so.

    Either the person accepted its data at its push, or rolled back to it. Its baseline is older than that decision.

    Args:
        serving_directory: Folder of the model, with one subfolder per version; it need not exist.
        candidate_fingerprint: `model_fingerprint` of the candidate.
        policy: Which versions may be in production.
    """
    newest_first = reversed(list_versions(serving_directory))
    current = next((version for version in newest_first if policy.admits_baseline(version.directory)), None)
    if current is None or version_fingerprint(current) != candidate_fingerprint:
        return False
    with suppress(DamagedVersionError):
        if provenance := read_provenance(current.directory):
            return provenance.rolled_back_to is not None or any(gate.accepted for gate in provenance.origin.gates)
    return False


def find_other_data(serving_directory: Path, train_statistics: bytes) -> tuple[Version, bytes] | None:
    """Finds the baseline of data: the newest version trained on other data that has not changed since its push.

    Its signature is not checked, because nothing in it is run.

    Args:
        serving_directory: Folder of the model, with one subfolder per version; it need not exist.
        train_statistics: Serialized train statistics of the data; empty bytes match no version.

    Returns:
        The version and the content of its `TRAIN_STATISTICS_FILE`, or None if no version states other data.
    """
    for version in reversed(list_versions(serving_directory)):
        # The file is optional, and another process may prune at the same time.
        with suppress(FileNotFoundError):
            content = (version.directory / TRAIN_STATISTICS_FILE).read_bytes()
            if content != train_statistics and TrustPolicy().check(version.directory).state is not State.CHANGED:
                return version, content
    return None


def version_fingerprint(version: Version) -> str:
    """Returns the `model_fingerprint` of a version from its provenance or, without a readable one, its files."""
    with suppress(DamagedVersionError):
        if provenance := read_provenance(version.directory):
            return provenance.model_fingerprint
    return model_fingerprint(version.directory)
