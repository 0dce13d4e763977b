"""The provenance of a pushed model: its ingredients, the results of its gates, and the hashes of its files."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict, ValidationError

from registry.errors import ExpectedError

REVISION_VARIABLE = "CODE_REVISION"
"""Environment variable with the Git revision of the code in an image."""

EXTRA_FOLDER = "assets.extra"
"""Folder of a SavedModel for files that are not part of the model; TF Serving reads only warm-up requests there."""

PROVENANCE_FILE = f"{EXTRA_FOLDER}/provenance.json"
"""Provenance of a version; a path in the version's folder."""

SIGNATURE_FILE = f"{EXTRA_FOLDER}/model.sig"
"""Signature of a version, a sigstore bundle; a path in the version's folder."""

VERDICT_TYPE = "digits.Verdict"
"""Type of the artifacts with the verdicts of gates."""

PROJECT = "digit-classifier"


class DamagedVersionError(ExpectedError):
    """A version differs from what was pushed; the message names the file."""


class _Record(BaseModel):
    # Versions with fields of a later release stay readable.
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class DataOrigin(_Record):
    """The data that a model was trained on; `span` is 0 if the URI of the data has no `{SPAN}`."""

    uri: str
    span: int
    fingerprint: str


class Ingredients(_Record):
    """What a model is made from; its schema is a file of the version.

    Attributes:
        data: Its training data.
        code: Fingerprint of the code of each step, by step name.
        transform_graph: `model_fingerprint` of the Transform graph; None in versions of earlier releases.
    """

    data: DataOrigin
    code: Mapping[str, str]
    transform_graph: str | None = None


class GateRecord(_Record):
    """The result of a gate: its decision, and what it measured.

    Attributes:
        enforced: If not, the gate was switched off; it passed regardless of its findings.
        accepted: What a person has accepted, so that the gate did not refuse it: slices and reason.
        metrics: The measured values by metric and slice.
        intervals: Ends of their 95 % confidence intervals likewise; empty in versions of earlier releases.
    """

    gate: str
    passed: bool
    enforced: bool = True
    accepted: tuple[str, ...] = ()
    metrics: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = {}


class Software(_Record):
    """The software of a run.

    Attributes:
        version: Version of this project.
        revision: Git revision of its code, if it is in a Git repository or an image; ends in `-dirty` after changes.
        python: Version of Python.
        packages: Versions of the packages that this project requires.
    """

    version: str
    revision: str | None
    python: str
    packages: Mapping[str, str]


class Origin(_Record):
    """Where a model comes from: the run that pushed it, the model artifact, its ingredients and its gate results.

    Attributes:
        settings: The settings that shape the model and its gates, with the hyperparameters in `trainer`, by section.
        baseline_version: Number of the version that the model was compared with; None if there was none, and in
            versions of earlier releases.
    """

    pipeline_run: str | None = None
    model_uri: str | None = None
    ingredients: Ingredients | None = None
    settings: Mapping[str, Mapping[str, Any]] = {}
    software: Software | None = None
    gates: tuple[GateRecord, ...] = ()
    baseline_version: int | None = None


class Provenance(_Record):
    """The provenance of a version.

    Attributes:
        model: Name of the model; None in versions of earlier releases.
        rolled_back_to: Number of the version that this one copies, if it is the result of a rollback.
        model_fingerprint: Identity of the model, independent of the version; see `model_fingerprint`.
        origin: Where the model comes from. A copy keeps the origin of the original.
        files: SHA-256 of every file except the provenance and the signature, by path in the version's folder.
    """

    version: int
    model: str | None = None
    published: datetime
    rolled_back_to: int | None
    model_fingerprint: str
    origin: Origin
    files: Mapping[str, str]


def installed_software() -> Software:
    """Describes the software of this process."""
    requirements = [Requirement(text) for text in importlib.metadata.requires(PROJECT) or ()]
    return Software(
        version=importlib.metadata.version(PROJECT),
        revision=os.environ.get(REVISION_VARIABLE) or _git_revision(),
        python=platform.python_version(),
        packages={
            requirement.name: importlib.metadata.version(requirement.name)
            for requirement in requirements
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        },
    )


def _git_revision() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.check_output(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def read_provenance(version_directory: Path) -> Provenance | None:
    """Reads the provenance of a version.

    Args:
        version_directory: Folder of the version.

    Returns:
        The provenance, or None if there is none, as in versions of TFX's own Pusher.

    Raises:
        DamagedVersionError: The provenance is not readable.
    """
    file = version_directory / PROVENANCE_FILE
    # A link or device could be read without end.
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise DamagedVersionError(f"{file}: not a regular file; remove the version, or restore the file.")
    try:
        return Provenance.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedVersionError(
            f"{file}: cannot be read: {error.strerror}; remove the version, or restore the file."
        ) from error
    except ValidationError as error:
        raise DamagedVersionError(
            f"{file}: not the provenance of a version; the version is damaged, choose another one."
        ) from error


def verify_files(directory: Path, provenance: Provenance, signed: Mapping[str, str] | None = None) -> None:
    """Compares the files of a version with their hashes in its signature or, without one, in its provenance.

    Args:
        directory: Folder of the version.
        provenance: The version's own provenance.
        signed: The hashes in its signature, which include that of the provenance.

    Raises:
        DamagedVersionError: A file was changed, removed or added.
    """
    found, expected = hash_files(directory), provenance.files
    if signed is not None:
        found, expected = {**found, PROVENANCE_FILE: _hash(directory / PROVENANCE_FILE)}, signed
    # The provenance comes last: if someone changed it to match another changed file, that file is the better report.
    for path in sorted({*found, *expected}, key=lambda path: (path == PROVENANCE_FILE, path)):
        if found.get(path) != expected.get(path):
            change = "is missing" if path not in found else "was added" if path not in expected else "has changed"
            raise DamagedVersionError(
                f"{directory / path}: {change} since version {provenance.version} was pushed; "
                "roll back to one that is not damaged, or restore the file."
            )


def model_fingerprint(directory: Path) -> str:
    """Identifies a model by the paths and contents of its files outside `assets.extra`.

    Args:
        directory: Folder of a SavedModel, pushed or not.

    Returns:
        Hex SHA-256, equal for all copies of the model.

    Raises:
        OSError: The folder is not readable.
    """
    return combine_hashes(hash_files(directory))


def combine_hashes(hashes: Mapping[str, str]) -> str:
    """Returns the `model_fingerprint` of a folder from the result of `hash_files`."""
    model_files = sorted(path for path in hashes if not path.startswith(f"{EXTRA_FOLDER}/"))
    return hashlib.sha256("".join(f"{path}\0{hashes[path]}\n" for path in model_files).encode()).hexdigest()


def hash_files(directory: Path) -> dict[str, str]:
    """Returns the hex SHA-256 of every file of a version except provenance and signature, by path in the folder."""
    paths = {path.as_posix() for path in list_files(directory)} - {PROVENANCE_FILE, SIGNATURE_FILE}
    return {path: _hash(directory / path) for path in sorted(paths)}


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def list_files(directory: Path) -> Iterator[Path]:
    """Yields the relative paths of all files below a folder, including those in linked folders.

    Raises:
        OSError: A folder is not readable.
    """

    def fail(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(directory, onerror=fail, followlinks=True):
        for name in names:
            yield Path(folder, name).relative_to(directory)
