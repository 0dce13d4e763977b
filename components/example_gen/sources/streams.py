"""Reads bytes from files that may be gzipped, cut short or damaged."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from components.example_gen.sources.errors import corrupt, truncated
from components.example_gen.sources.storage import opened

GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def decompressed(uri: str) -> Iterator[IO[bytes]]:
    """Opens a plain or gzipped file; its first bytes tell which, since names are not reliable.

    Args:
        uri: URI of the file.

    Yields:
        What is in it, readable and seekable: a `gzip.GzipFile` if it is gzipped (RFC 1952), else the file itself.

    Raises:
        DataError: The file cannot be read, or its compressed data are cut short or corrupt.
    """
    with opened(uri) as file:
        is_gzipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not is_gzipped:
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield cast(IO[bytes], stream)
        except EOFError as error:
            raise truncated(uri, "gzip data that end too early") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise corrupt(uri, f"corrupt gzip data ({error})", "an intact gzip file") from error


def read_exactly(stream: IO[bytes], num_bytes: int, where: str) -> bytes:
    """Reads a number of bytes.

    Args:
        stream: What is read from.
        num_bytes: Number of bytes to read.
        where: The place, for the message.

    Returns:
        Exactly `num_bytes` bytes.

    Raises:
        DataError: The stream ends before.
    """
    data = stream.read(num_bytes)
    if len(data) < num_bytes:
        raise truncated(where, f"{len(data)} bytes where {num_bytes} should follow")
    return data
