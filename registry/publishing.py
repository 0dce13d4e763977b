"""What is done to the versions of a served model: publish a new one, republish an older one, remove old ones."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from registry.provenance import (
    PROVENANCE_FILE,
    DamagedVersionError,
    Origin,
    Provenance,
    combine_hashes,
    hash_files,
    list_files,
    model_fingerprint,
    read_provenance,
    verify_files,
)
from registry.version_folders import PublishingError, new_folder, remove_folder, sole_writer, write_files
from registry.versions import (
    SAVED_MODEL_FILE,
    Version,
    find_baseline,
    find_other_data,
    list_versions,
    no_versions,
    read_version,
    version_fingerprint,
    version_number,
)

_log = logging.getLogger(__name__)


class WrongRequestError(PublishingError):
    """What was asked for cannot be; the message says what can."""


def publish(model: Path, serving_directory: Path, extra: Mapping[str, bytes | Path], origin: Origin) -> Version:
    """Makes a model the newest version.

    A run pushes a model once: if it has done so, and its step is tried again, that version is the result.

    Its number is the time in seconds, or one more than the highest that there is, whichever is greater: neither a
    second push within a second nor a clock that went back gives a number that a server would take for an older version.

    Args:
        model: Folder of the SavedModel.
        serving_directory: Folder of the model's versions on a local or mounted file system; made if it is not there.
        extra: Further files of the version, by their path in it: their content, or a file to copy.
        origin: Where the model comes from.

    Returns:
        The version, complete and safe on the disk.

    Raises:
        PublishingError: The version cannot be written; then nothing of it can be seen.
    """
    with sole_writer(serving_directory):
        pushed = _pushed_by_run(serving_directory, origin.pipeline_run, model_fingerprint(model))
        return pushed or _publish(model, serving_directory, extra, origin)


def roll_back(serving_directory: Path, number: int | None) -> Version:
    """Makes an older version current again by publishing its content under a new number; nothing is removed.

    Args:
        serving_directory: Folder of the model's versions.
        number: The version; if None, the newest whose model is another than that of the current version, so that a
            second rollback undoes the first.

    Returns:
        The new version.

    Raises:
        WrongRequestError: There is no such version, or it is the current one.
        DamagedVersionError: A file of the version is not what was pushed.
        PublishingError: There is nothing to roll back to, or the version cannot be written.
    """
    existing_versions(serving_directory)
    with sole_writer(serving_directory):
        target = _rollback_target(serving_directory, number)
        provenance = read_provenance(target.directory)
        # Versions that TFX's own Pusher wrote have none, and nothing to be compared with.
        if provenance:
            verify_files(target.directory, provenance)
        origin = provenance.origin if provenance else Origin()
        return _publish(target.directory, serving_directory, {}, origin, rolled_back_to=target.number)


def prune(serving_directory: Path, keep: int) -> list[Version]:
    """Removes old versions.

    Args:
        serving_directory: Folder of the model's versions.
        keep: How many of the newest to keep; what the next run is compared with is kept as well.

    Returns:
        What was removed, the oldest first.

    Raises:
        WrongRequestError: `keep` is less than 1.
        PublishingError: There are no versions, or one cannot be removed.
    """
    prunable_versions(serving_directory, keep)
    with sole_writer(serving_directory):
        removed = prunable_versions(serving_directory, keep)
        for version in removed:
            remove_folder(version.directory)
    return removed


def prunable_versions(serving_directory: Path, keep: int) -> list[Version]:
    """Returns the versions that `prune` would remove, the oldest first.

    Args:
        serving_directory: Folder of the model's versions.
        keep: How many of the newest to keep. The newest is the one that is served; the baseline, to which a rollback
            goes, is kept as well, and so are the versions with whose data DataGate may compare that of the next run.

    Raises:
        WrongRequestError: `keep` is less than 1.
        PublishingError: There are no versions.
    """
    if keep < 1:
        raise WrongRequestError(f"keep: expected 1 or more, not {keep}: the newest version is being served.")
    versions = existing_versions(serving_directory)
    needed = [find_baseline(serving_directory, version_fingerprint(versions[-1])), *_data_baselines(serving_directory)]
    return [version for version in versions[:-keep] if version not in needed]


def _data_baselines(serving_directory: Path) -> Iterator[Version]:
    # New data is compared with the newest, and the newest, run once more, with what came before it.
    if newest := find_other_data(serving_directory, b""):
        version, train_statistics = newest
        yield version
        if before := find_other_data(serving_directory, train_statistics):
            yield before[0]


def _pushed_by_run(serving_directory: Path, pipeline_run: str | None, fingerprint: str) -> Version | None:
    for version in list_versions(serving_directory) if pipeline_run else []:
        # A version that is damaged is not what the run is to have pushed.
        with suppress(DamagedVersionError):
            known = read_provenance(version.directory)
            same = known and (known.origin.pipeline_run, known.model_fingerprint) == (pipeline_run, fingerprint)
            if known and same and known.rolled_back_to is None:
                _log.info("this run has pushed version %d already", version.number)
                return version
    return None


def _publish(
    source: Path,
    serving_directory: Path,
    extra: Mapping[str, bytes | Path],
    origin: Origin,
    rolled_back_to: int | None = None,
) -> Version:
    if not (source / SAVED_MODEL_FILE).is_file():
        raise PublishingError(f"{source}: expected a SavedModel, but there is no {SAVED_MODEL_FILE} in it.")
    number = _next_number(serving_directory)
    with new_folder(serving_directory / str(number)) as folder:
        write_files(folder, {path.as_posix(): source / path for path in list_files(source)})
        write_files(folder, extra)
        hashes = hash_files(folder)
        provenance = Provenance(
            version=number,
            published=datetime.now(UTC),
            rolled_back_to=rolled_back_to,
            model_fingerprint=combine_hashes(hashes),
            origin=origin,
            files=hashes,
        )
        write_files(folder, {PROVENANCE_FILE: provenance.model_dump_json(indent=2).encode() + b"\n"})
    return read_version(serving_directory / str(number))


def _next_number(serving_directory: Path) -> int:
    # Folders without a model count, too: a new one cannot have the name of one that is there.
    taken = [version_number(path.name) or 0 for path in serving_directory.iterdir()]
    return max(int(time.time()), max(taken, default=0) + 1)


def existing_versions(serving_directory: Path) -> list[Version]:
    """Returns the versions that a server would load, the oldest first.

    Raises:
        PublishingError: There is none.
    """
    versions = list_versions(serving_directory)
    if not versions:
        raise PublishingError(no_versions(serving_directory))
    return versions


def _rollback_target(serving_directory: Path, number: int | None) -> Version:
    versions = existing_versions(serving_directory)
    current = versions[-1]
    if number is None:
        target = find_baseline(serving_directory, version_fingerprint(current))
        if target is None:
            raise PublishingError(f"{serving_directory}: nothing to roll back to; every version holds the same model.")
        return target
    if number == current.number:
        raise WrongRequestError(f"{number}: this is the current version of {current.model} already.")
    target = next((version for version in versions if version.number == number), None)
    if target is None:
        known = ", ".join(str(version.number) for version in versions)
        raise WrongRequestError(f"{number}: no such version of {current.model}; there are {known}.")
    return target
