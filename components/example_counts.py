"""Counts examples where they are written and where they are read, so that none is lost without an error.

TensorFlow reads a truncated file of gzipped TFRecords as a shorter one, and no component of TFX notices a missing file.
"""

import gzip
import json
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import tensorflow as tf

from registry.errors import ExpectedError

COUNTS_FILE = "num_examples.json"
"""Number of examples in each file of an `Examples` artifact; not a property, because `run_fn` does not get any."""

_HEADER = struct.Struct("<QI")
_CHECKSUM_SIZE = 4
_DAMAGE = re.compile(r"TFRecord|decompress|inflate|data.?loss|corrupt|truncated|EOF|no (such )?files?", re.IGNORECASE)
"""Words in errors of TensorFlow, Beam and zlib. After another error, reading all files again would take too long."""
_ADVICE = "run again, with enable_cache=false if the step that wrote it comes from the cache"


class LostExamplesError(ExpectedError):
    """Examples are missing; the message names the file or the split, and what to do."""


def count_records(file: str) -> int:
    """Reads a file of gzipped TFRecords to its end and returns their number.

    Raises:
        LostExamplesError: The file is missing, truncated or damaged.
    """
    count = 0
    try:
        with tf.io.gfile.GFile(file, "rb") as compressed, gzip.open(compressed) as content:
            while header := content.read(_HEADER.size):
                size = _HEADER.unpack(header)[0] + _CHECKSUM_SIZE
                if len(content.read(size)) < size:
                    raise EOFError("the last record is incomplete")
                count += 1
    # A damaged length may be larger than the memory.
    except (OSError, EOFError, zlib.error, struct.error, OverflowError, MemoryError, tf.errors.OpError) as error:
        raise LostExamplesError(f"{file}: missing or damaged ({error}); {_ADVICE}.") from error
    return count


def write_counts(counts: Mapping[str, int], folder: str) -> None:
    """Records the number of examples in each file of an `Examples` artifact, by path in its folder."""
    with tf.io.gfile.GFile(os.path.join(folder, COUNTS_FILE), "w") as file:
        file.write(json.dumps(dict(sorted(counts.items()))))


def recorded_counts(split_folder: str) -> dict[str, int]:
    """Returns the number of examples in each file of a split, by path; none if the step that wrote it recorded none."""
    folder, split = os.path.split(split_folder)
    file = os.path.join(folder, COUNTS_FILE)
    if not tf.io.gfile.exists(file):
        return {}
    with tf.io.gfile.GFile(file) as content:
        counts: dict[str, int] = json.loads(content.read())
    return {os.path.join(folder, path): count for path, count in counts.items() if path.startswith(f"{split}/")}


def check_count(split_folders: Iterable[str], num_read: int) -> None:
    """Compares the number of examples that a step has read from splits with the number that was written to them.

    Does nothing if the step that wrote the examples did not record it.

    Raises:
        LostExamplesError: The numbers differ; the message names both, and the file if one is missing or damaged.
    """
    counts = {file: count for folder in split_folders for file, count in recorded_counts(folder).items()}
    num_written = sum(counts.values())
    if not counts or num_read == num_written:
        return
    folders = ", ".join(sorted({os.path.dirname(file) for file in counts}))
    problem = f"{folders}: {num_read} examples were read, but {num_written} were written"
    for file, count in counts.items():
        try:
            found = count_records(file)
        except LostExamplesError as error:
            raise LostExamplesError(f"{problem}; {error}") from error
        if found != count:
            raise LostExamplesError(f"{problem}; {file}: {found} instead of {count}; {_ADVICE}.")
    raise LostExamplesError(
        f"{problem}, and these files are complete: a file was added, or the engine lost or repeated work; {_ADVICE}."
    )


@contextmanager
def damage_named(split_folders: Iterable[str]) -> Iterator[None]:
    """Names the file if reading splits fails because it is damaged.

    Raises:
        LostExamplesError: The body of the `with` statement has failed, and a file of the splits is damaged.
    """
    try:
        yield
    except Exception as error:
        for folder in split_folders if _DAMAGE.search(f"{type(error).__name__}: {error}") else ():
            for file in recorded_counts(folder) or tf.io.gfile.glob(os.path.join(folder, "*.gz")):
                count_records(file)
        raise
