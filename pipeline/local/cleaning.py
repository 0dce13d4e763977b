"""Finds and removes what killed and failed runs left behind."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.local.metadata import has_records, live_artifacts, open_metadata
from pipeline.settings.settings import Settings
from registry.publishing import find_leftovers as find_publishing_leftovers
from registry.publishing import sole_writer

TEMPORARY_FOLDER = "digits-"
"""Prefix of the temporary folder of a run, which the run locks."""


@dataclass(frozen=True)
class Leftover:
    """A folder that nothing needs, the reason, and the total size of its files."""

    path: Path
    reason: str
    num_bytes: int


def find_leftovers(settings: Settings, *, old_roots: bool) -> list[Leftover]:
    """Finds leftovers; requires the lock of the workspace.

    Args:
        settings: Settings with the workspace.
        old_roots: Whether to include artifacts that a run moved aside because the database had no record of them.

    Raises:
        MetadataError: The metadata database is damaged.
    """
    found = [*_attempts(settings), *_temporary_folders()]
    for directory in settings.serving_root.glob("*/"):
        found += [(path, "publishing was interrupted") for path in find_publishing_leftovers(directory)]
    if old_roots:
        pattern = f"{settings.pipeline_root.name}-{'[0-9]' * 8}-{'[0-9]' * 6}"
        found += [(path, "moved aside") for path in settings.workspace.glob(pattern)]
    sizes = [sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir()) for path, _ in found]
    return [Leftover(path, reason, size) for (path, reason), size in zip(found, sizes, strict=True)]


def remove(leftovers: list[Leftover], settings: Settings) -> None:
    """Removes leftovers; requires the lock of the workspace.

    Raises:
        OSError: A folder cannot be removed.
        PublishingError: Another process does not finish publishing.
    """
    for leftover in leftovers:
        if leftover.path.is_relative_to(settings.serving_root):
            # The sole writer removes all leftovers: no other process can be writing them.
            with sole_writer(leftover.path.parent):
                pass
        else:
            shutil.rmtree(leftover.path)


def _attempts(settings: Settings) -> Iterator[tuple[Path, str]]:
    # Without records, the next run moves all artifacts aside.
    if not has_records(settings.metadata_file):
        return
    with open_metadata(settings.metadata_file) as store:
        # TFX writes to ROOT/STEP/OUTPUT/EXECUTION, or a file in it; ROOT may have moved.
        live = {parts for path in live_artifacts(store) for parts in (path.parts[-3:], path.parts[-4:-1])}
    for folder in sorted(settings.pipeline_root.glob("*/*/")):
        if folder.name == ".system":
            if any(path.is_file() for path in folder.rglob("*")):
                yield folder, "working files of TFX"
        else:
            for attempt in sorted(folder.iterdir()):
                if attempt.parts[-3:] not in live:
                    yield attempt, "its step failed or was stopped, or a file was damaged"


def _temporary_folders() -> Iterator[tuple[Path, str]]:
    for lock in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_FOLDER}*/.lock"):
        # If the lock is free, the run has ended.
        with suppress(Timeout, OSError), FileLock(lock, timeout=0):
            yield lock.parent, "its run was killed"
