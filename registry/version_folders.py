"""Adds and removes version folders so that a server sees each of them whole or not at all.

A folder is filled under a hidden name beside the others, synced to the disk and renamed, which is one step for whoever
looks; it is removed in the reverse order. TF Serving takes no notice of names that are no numbers.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCK_FILE = ".lock"
LOCK_TIMEOUT_SECONDS = 600.0

_PUBLISHING = ".publishing-"
_REMOVING = ".removing-"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


class PublishingError(RuntimeError):
    """A version could not be published or removed; the message says which, why, and what to do."""


def require_file_system(serving_directory: str | Path) -> None:
    """Refuses a serving directory in an object store, where no folder can be renamed in one step.

    Raises:
        PublishingError: It is a URL.
    """
    if _URL.match(str(serving_directory)):
        raise PublishingError(
            f"{serving_directory}: expected a folder of this machine or a mounted volume, not a URL; versions are "
            "published by renaming a folder, which is one step on a file system only."
        )


@contextmanager
def sole_writer(serving_directory: Path) -> Iterator[None]:
    """Keeps other writers out, removes what a killed one has left, and explains what the system refuses.

    Args:
        serving_directory: Folder of the version folders; made if it is not there.

    Raises:
        PublishingError: It is a URL, another writer does not come to an end, or the system refuses what is done inside.
    """
    require_file_system(serving_directory)
    try:
        serving_directory.mkdir(parents=True, exist_ok=True)
        with FileLock(serving_directory / LOCK_FILE, timeout=LOCK_TIMEOUT_SECONDS):
            for prefix in (_PUBLISHING, _REMOVING):
                for leftover in serving_directory.glob(f"{prefix}*"):
                    shutil.rmtree(leftover)
            yield
    except Timeout as error:
        raise PublishingError(
            f"{serving_directory}: another process has been publishing or pruning for {LOCK_TIMEOUT_SECONDS:.0f} s; "
            "wait for it, or stop it, and try again."
        ) from error
    except OSError as error:
        raise PublishingError(
            f"{error.filename or serving_directory}: {error.strerror or error}; a server sees the complete versions "
            "only. Check the path, its permissions and the disk, and try again."
        ) from error


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Adds a folder; only the sole writer may.

    Args:
        folder: Where it is to be.

    Yields:
        The hidden folder to fill. If that fails, nothing remains of it.
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


def remove_folder(folder: Path) -> None:
    """Removes a folder; only the sole writer may."""
    hidden = folder.rename(folder.with_name(f"{_REMOVING}{folder.name}"))
    _sync(folder.parent)
    shutil.rmtree(hidden)


def write_files(directory: Path, contents: Mapping[str, bytes | Path]) -> None:
    """Writes files, and the folders in which they are, as new ones of this process.

    Args:
        directory: Where to.
        contents: Content, or a file to copy, by path in the directory.
    """
    for path, content in contents.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            shutil.copyfile(content, file)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
