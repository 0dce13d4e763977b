"""Writes files that other processes may read at any time."""

import os
from pathlib import Path


def replace_file(file: Path, text: str) -> None:
    """Writes a text file in UTF-8, completely or not at all.

    Raises:
        OSError: The file cannot be written; it is as before.
    """
    # The `tempfile` module would restrict the permissions, but a server may run as another user.
    partial = file.with_name(f".{file.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
