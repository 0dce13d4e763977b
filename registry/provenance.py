"""What is known of a pushed model: what it was made from, what the gates said, and what its files hold."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

EXTRA_FOLDER = "assets.extra"
"""Folder of a SavedModel for what is no part of the model; TF Serving looks there for warm-up requests alone."""

PROVENANCE_FILE = f"{EXTRA_FOLDER}/provenance.json"
"""Where a version says what is known of it; a path in the version's folder."""


class DamagedVersionError(RuntimeError):
    """A version is not what was pushed; the message names the file."""


class _Record(BaseModel):
    # What a later release adds must not make a version unreadable for this one.
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class DataOrigin(_Record):
    """The data that a model has learnt from.

    Attributes:
        uri: Where it was, with the span filled in.
        span: Its span, 0 where the URI has no `{SPAN}`.
        fingerprint: SHA-256 of its content.
    """

    uri: str
    span: int
    fingerprint: str


class Ingredients(_Record):
    """What a model is made from.

    Attributes:
        data: What it has learnt from.
        code: Fingerprint of the code of each step, by the name of the step.
    """

    data: DataOrigin
    code: Mapping[str, str]


class GateRecord(_Record):
    """What a gate said of a model.

    Attributes:
        gate: Name of the gate.
        passed: Whether it let the model pass.
        metrics: The numbers that it looked at: metric, then slice, then value.
    """

    gate: str
    passed: bool
    metrics: Mapping[str, Mapping[str, float]]


class Origin(_Record):
    """Where a model comes from; nothing where nobody knows.

    Attributes:
        pipeline_run: Id of the run that pushed it.
        model_uri: The artifact of which it is a copy.
        ingredients: What it was made from.
        gates: What the gates said of it.
    """

    pipeline_run: str | None = None
    model_uri: str | None = None
    ingredients: Ingredients | None = None
    gates: tuple[GateRecord, ...] = ()


class Provenance(_Record):
    """What a version says of itself.

    Attributes:
        version: Its number.
        published: When it was published.
        rolled_back_to: The version of which it is a copy, if it comes from a rollback.
        model_fingerprint: Identity of the model, whatever its version; see `model_fingerprint`.
        origin: Where the model comes from. A copy has that of the original.
        files: SHA-256 of every file but this one, by its path in the version's folder.
    """

    version: int
    published: datetime
    rolled_back_to: int | None
    model_fingerprint: str
    origin: Origin
    files: Mapping[str, str]


def read_provenance(version_directory: Path) -> Provenance | None:
    """Reads what a version says of itself.

    Args:
        version_directory: Folder of the version.

    Returns:
        Its provenance, or None if it has none, as versions that TFX's own Pusher wrote.

    Raises:
        DamagedVersionError: It has a provenance that cannot be read.
    """
    file = version_directory / PROVENANCE_FILE
    try:
        return Provenance.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DamagedVersionError(
            f"{file}: not the provenance of a version; the version is damaged, choose another one."
        ) from error


def model_fingerprint(directory: Path) -> str:
    """Identifies a model by the paths and contents of its files, without those in `assets.extra`.

    Args:
        directory: Folder of a SavedModel, pushed or not.

    Returns:
        Hex SHA-256, the same for all copies of the model, whatever was shipped beside it.

    Raises:
        OSError: The folder cannot be read.
    """
    return combine_hashes(hash_files(directory))


def combine_hashes(hashes: Mapping[str, str]) -> str:
    """Returns the `model_fingerprint` of a folder whose files have these SHA-256, by their paths in it."""
    model_files = sorted(path for path in hashes if not path.startswith(f"{EXTRA_FOLDER}/"))
    return hashlib.sha256("".join(f"{path}\0{hashes[path]}\n" for path in model_files).encode()).hexdigest()


def hash_files(directory: Path) -> dict[str, str]:
    """Returns the hex SHA-256 of every file of a version but its provenance, by its path in the folder."""
    hashes = {path.as_posix(): _sha256(directory / path) for path in list_files(directory)}
    hashes.pop(PROVENANCE_FILE, None)
    return hashes


def verify_files(directory: Path, provenance: Provenance) -> None:
    """Compares the files of a version with what its provenance says of them.

    Args:
        directory: Folder of the version.
        provenance: What `read_provenance` returned for it.

    Raises:
        DamagedVersionError: A file has changed, is missing, or was added.
    """
    found, expected = hash_files(directory), provenance.files
    for path in sorted({*found, *expected}):
        if found.get(path) != expected.get(path):
            change = "is missing" if path not in found else "was added" if path not in expected else "has changed"
            raise DamagedVersionError(
                f"{directory / path}: {change} since version {provenance.version} was pushed; "
                "roll back to one that is not damaged, or restore the file."
            )


def list_files(directory: Path) -> Iterator[Path]:
    """Yields the paths of all files below a folder, relative to it, also those behind links.

    Raises:
        OSError: The folder, or one in it, cannot be read.
    """
    for folder, _, names in os.walk(directory, onerror=_raise, followlinks=True):
        for name in names:
            yield Path(folder, name).relative_to(directory)


def _raise(error: OSError) -> None:
    raise error


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
