"""Publishes, rolls back and prunes versions so that a server sees each version complete or not at all.

A new folder is filled under a hidden name, synced to the disk and renamed in one step; removal works in the reverse
order. TF Serving ignores folders whose names are not numbers.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from registry.errors import ExpectedError, UsageError
from registry.model_card import MODEL_CARD_FILE, render_model_card
from registry.nearest_names import nearest_names
from registry.provenance import (
    PROVENANCE_FILE,
    SIGNATURE_FILE,
    DamagedVersionError,
    Origin,
    Provenance,
    combine_hashes,
    hash_files,
    list_files,
    model_fingerprint,
    read_provenance,
)
from registry.signing import State, TrustPolicy, sign
from registry.versions import (
    MAX_NUMBER,
    SAVED_MODEL_FILE,
    Version,
    find_baseline,
    find_other_data,
    list_versions,
    newest_usable,
    read_version,
    version_fingerprint,
    version_number,
)

_LOCK_FILE = ".lock"
_LOCK_TIMEOUT_SECONDS = 600.0
_PUBLISHING = ".publishing-"
_REMOVING = ".removing-"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")

_log = logging.getLogger(__name__)


class PublishingError(ExpectedError):
    """A version cannot be published or removed; the message says which, why, and what to do."""


class UnverifiedVersionError(PublishingError):
    """A version must not be used; the message says why, and what to do."""


class WrongRequestError(PublishingError, UsageError):
    """The request is invalid; the message lists the valid choices."""


def publish(
    model: Path,
    serving_directory: Path,
    extra: Mapping[str, bytes | Path],
    origin: Origin,
    private_key: Path | None = None,
) -> Version:
    """Publishes a model as the newest version.

    A model is published only once: a retry of the step, or the run after a killed run, returns the existing version. It
    does so even after a rollback, which it does not undo.

    The version number is the time in seconds, but always higher than all existing numbers, so a second push within a
    second or a clock that went back does not produce an older version.

    Args:
        model: Folder of the SavedModel.
        serving_directory: Folder of the model's versions on a local or mounted file system; created if missing.
        extra: Additional files, by path in the version: content, or a file to copy.
        origin: Where the model comes from.
        private_key: PEM file of the key that signs the version; without it, the version is not signed.

    Returns:
        The version, complete and synced to the disk.

    Raises:
        PublishingError: The version cannot be written; nothing of it is visible.
        SigningKeyError: The key cannot be used.
    """
    with sole_writer(serving_directory):
        pushed = _existing_push(serving_directory, origin.pipeline_run, model_fingerprint(model), private_key)
        return pushed or _publish(model, serving_directory, extra, origin, private_key)


def roll_back(
    serving_directory: Path, number: int | None, policy: TrustPolicy, private_key: Path | None = None
) -> Version:
    """Publishes the content of an older version under a new number; nothing is removed.

    Args:
        serving_directory: Folder of the model's versions.
        number: The older version; by default the newest usable one with another model than the newest version,
            so that a second rollback undoes the first.
        policy: Which versions may be used.
        private_key: PEM file of the key that signs the new version; without it, the version is not signed.

    Returns:
        The new version.

    Raises:
        WrongRequestError: The version does not exist, or is the newest one.
        UnverifiedVersionError: The version must not be used.
        SigningKeyError: The key cannot be used.
        PublishingError: There is no version to roll back to, or the new version cannot be written.
    """
    existing_versions(serving_directory)
    with sole_writer(serving_directory):
        target = usable_version(serving_directory, _rollback_target(serving_directory, number, policy), policy)
        provenance = read_provenance(target.directory)
        origin = provenance.origin if provenance else Origin()
        return _publish(target.directory, serving_directory, {}, origin, private_key, rolled_back_to=target.number)


def prune(serving_directory: Path, keep: int, policy: TrustPolicy) -> list[Version]:
    """Removes the versions that `prunable_versions` returns, and returns them.

    Raises:
        WrongRequestError: `keep` is less than 1.
        PublishingError: There are no versions, or one cannot be removed.
    """
    prunable_versions(serving_directory, keep, policy)
    with sole_writer(serving_directory):
        removed = prunable_versions(serving_directory, keep, policy)
        for version in removed:
            hidden = version.directory.rename(serving_directory / f"{_REMOVING}{version.number}")
            _sync(serving_directory)
            shutil.rmtree(hidden)
    return removed


def prunable_versions(serving_directory: Path, keep: int, policy: TrustPolicy) -> list[Version]:
    """Returns the old versions that can be removed, oldest first.

    Args:
        serving_directory: Folder of the model's versions.
        keep: How many of the newest versions to keep. The newest usable version, the baseline, which is the target of a
            rollback, and the versions whose data DataGate may compare with the data of the next run are also kept.
        policy: Which versions may be used.

    Raises:
        WrongRequestError: `keep` is less than 1.
        PublishingError: There are no versions.
    """
    if keep < 1:
        raise WrongRequestError(f"keep: expected 1 or more, not {keep}: the newest version is being served.")
    versions = existing_versions(serving_directory)
    newest_used = newest_usable(serving_directory, policy)
    needed = [newest_used] if newest_used else []
    if newest_used and (baseline := find_baseline(serving_directory, version_fingerprint(newest_used), policy)):
        needed.append(baseline)
    # DataGate compares new data with the newest data, and the newest data in a repeated run with the data before it.
    if newest := find_other_data(serving_directory, b""):
        needed.append(newest[0])
        if before := find_other_data(serving_directory, newest[1]):
            needed.append(before[0])
    return [version for version in versions[:-keep] if version not in needed]


def existing_versions(serving_directory: Path) -> list[Version]:
    """Returns the versions that a server would load, oldest first.

    Raises:
        PublishingError: There are no versions.
    """
    versions = list_versions(serving_directory)
    if not versions:
        model = serving_directory.name
        others = sorted(folder.name for folder in serving_directory.parent.glob("*") if list_versions(folder))
        choice = f", or use another model: {', '.join(f'`--model {name}`' for name in others)}" if others else ""
        raise PublishingError(
            f"{serving_directory}: no version of {model} has been pushed there yet; push one with `digits run`{choice}."
        )
    return versions


def existing_version(serving_directory: Path, number: int | None) -> Version:
    """Returns a version, by default the newest.

    Raises:
        WrongRequestError: The version does not exist.
        PublishingError: There are no versions.
    """
    versions = {version.number: version for version in existing_versions(serving_directory)}
    number = max(versions) if number is None else number
    if number not in versions:
        known = nearest_names(str(number), [*map(str, versions)])
        raise WrongRequestError(f"{number}: no such version of {serving_directory.name}; {known}.")
    return versions[number]


def usable_version(serving_directory: Path, number: int | None, policy: TrustPolicy) -> Version:
    """Returns a version after checking that it may be used; by default, the newest version that may.

    Raises:
        WrongRequestError: The version does not exist.
        UnverifiedVersionError: The version, or by default every version, must not be used.
        PublishingError: There are no versions.
    """
    version = existing_version(serving_directory, number)
    if number is None:
        version = newest_usable(serving_directory, policy) or version
    if refusal := policy.refusal(version.directory):
        raise UnverifiedVersionError(refusal)
    return version


def require_file_system(serving_directory: str | Path) -> None:
    """Refuses a serving directory in an object store, which cannot rename a folder in one step.

    Raises:
        PublishingError: The directory is a URL.
    """
    if _URL.match(str(serving_directory)):
        raise PublishingError(
            f"{serving_directory}: expected a folder of this machine or a mounted volume, not a URL; versions are "
            "published by renaming a folder, which is one step on a file system only."
        )


@contextmanager
def sole_writer(serving_directory: Path) -> Iterator[None]:
    """Locks a serving directory, removes leftovers of killed writers, and explains errors of the operating system.

    Args:
        serving_directory: Folder of the model's versions; created if missing.

    Raises:
        PublishingError: The directory is a URL, another writer does not finish, or the system reports an error.
    """
    require_file_system(serving_directory)
    try:
        serving_directory.mkdir(parents=True, exist_ok=True)
        with FileLock(serving_directory / _LOCK_FILE, timeout=_LOCK_TIMEOUT_SECONDS):
            for leftover in find_leftovers(serving_directory):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            yield
    except Timeout as error:
        raise PublishingError(
            f"{serving_directory}: another process has been publishing or pruning for {_LOCK_TIMEOUT_SECONDS:.0f} s; "
            "wait for it, or stop it, and try again."
        ) from error
    except OSError as error:
        # If the error has two names, the first is the source of a copy or rename.
        place = serving_directory if error.filename2 else error.filename or serving_directory
        raise PublishingError(
            f"{place}: {error.strerror or error}; servers see complete versions only. "
            "Check the path, its permissions and the disk, and try again."
        ) from error


def find_leftovers(serving_directory: Path) -> list[Path]:
    """Returns what killed writers left behind, and what another writer is writing now."""
    return [path for prefix in (_PUBLISHING, _REMOVING) for path in sorted(serving_directory.glob(f"{prefix}*"))]


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Adds a folder in one step; requires `sole_writer`.

    Args:
        folder: Path of the new folder.

    Yields:
        A hidden folder to fill. If that fails, nothing remains.
    """
    staging = folder.with_name(f"{_PUBLISHING}{folder.name}")
    staging.mkdir()
    try:
        yield staging
        for path in (*staging.rglob("*"), staging):
            _sync(path)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync(folder.parent)


def write_files(directory: Path, contents: Mapping[str, bytes | Path]) -> None:
    """Writes files, and their folders, with the default permissions of this process.

    Args:
        directory: The parent folder.
        contents: Content, or a file to copy, by path in the directory.
    """
    for path, content in contents.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            shutil.copyfile(content, file)


def _publish(
    source: Path,
    serving_directory: Path,
    extra: Mapping[str, bytes | Path],
    origin: Origin,
    private_key: Path | None,
    rolled_back_to: int | None = None,
) -> Version:
    if not (source / SAVED_MODEL_FILE).is_file():
        raise PublishingError(f"{source}: expected a SavedModel, but there is no {SAVED_MODEL_FILE} in it.")
    # Folders without a model count, because their names are taken.
    taken = [version_number(path.name) or 0 for path in serving_directory.iterdir()]
    number = max(int(time.time()), max(taken, default=0) + 1)
    if number > MAX_NUMBER:
        raise PublishingError(
            f"{serving_directory / str(MAX_NUMBER)}: no version can be newer, because version numbers end there; "
            "rename or remove this folder."
        )
    directory = serving_directory / str(number)
    model, published = serving_directory.name, datetime.now(UTC)
    card = render_model_card(model, number, published, rolled_back_to, origin)
    with new_folder(directory) as folder:
        files = {path.as_posix(): source / path for path in list_files(source)}
        files.pop(SIGNATURE_FILE, None)
        write_files(folder, files)
        write_files(folder, {**extra, MODEL_CARD_FILE: card.encode()})
        hashes = hash_files(folder)
        provenance = Provenance(
            model=model,
            version=number,
            published=published,
            rolled_back_to=rolled_back_to,
            model_fingerprint=combine_hashes(hashes),
            origin=origin,
            files=hashes,
        )
        write_files(folder, {PROVENANCE_FILE: provenance.model_dump_json(indent=2).encode() + b"\n"})
        if private_key:
            sign(folder, private_key)
    return read_version(directory)


def _existing_push(
    serving_directory: Path, pipeline_run: str | None, fingerprint: str, private_key: Path | None
) -> Version | None:
    """Returns the version of a model if this run has pushed it, or if no other model has been pushed since."""
    policy = TrustPolicy(private_key)
    # A version that has changed, or is not signed with this key, does not count as pushed.
    pushed = (State.VERIFIED,) if private_key else (State.UNSIGNED, State.NOT_CHECKED)
    is_newest = True
    for version in reversed(list_versions(serving_directory) if pipeline_run else []):
        found = None
        with suppress(DamagedVersionError):
            found = read_provenance(version.directory)
        if found and found.rolled_back_to is not None:
            continue
        is_same = found is not None and found.model_fingerprint == fingerprint
        is_candidate = is_same and found and (is_newest or found.origin.pipeline_run == pipeline_run)
        if is_candidate and policy.check(version.directory).state in pushed:
            _log.info("version %d already holds this model", version.number)
            return version
        is_newest = False
    return None


def _rollback_target(serving_directory: Path, number: int | None, policy: TrustPolicy) -> int:
    """Returns the number of the version to copy; by default, the newest usable one with another model."""
    *others, newest = existing_versions(serving_directory)
    if number == newest.number:
        raise WrongRequestError(f"{number}: this is already the newest version of {newest.model}.")
    if number is not None:
        return number
    # If the newest version must not be used, any other version may replace it, even with the same model.
    if policy.refusal(newest.directory) is None:
        model = version_fingerprint(newest)
        others = [version for version in others if version_fingerprint(version) != model]
    if not others:
        raise PublishingError(f"{serving_directory}: nothing to roll back to; every version holds the same model.")
    usable = (version for version in reversed(others) if policy.refusal(version.directory) is None)
    return next(usable, others[-1]).number


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
