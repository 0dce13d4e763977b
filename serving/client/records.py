"""Reads TFRecords one record after the other; imports Beam."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# Private, but TensorFlow's own reader takes a file that is cut off between two records, or is none, for a complete one.
from apache_beam.io.tfrecordio import _TFRecordUtil

from serving.client.answers import Input
from serving.client.errors import ClientError

_GZIP_MAGIC = b"\x1f\x8b"


def read_records(file: str) -> Iterator[Input]:
    """Reads the records of a file.

    Args:
        file: Path of a TFRecord file, plain or gzipped.

    Yields:
        Serialized records with their index in the file.

    Raises:
        ClientError: The file cannot be read, is damaged or is no TFRecord: what follows in it would be lost.
    """
    index = 0
    try:
        with _open(file) as stream:
            while (record := _TFRecordUtil.read_record(stream)) is not None:
                yield Input(file, index, record)
                index += 1
    except (EOFError, ValueError, gzip.BadGzipFile, zlib.error) as error:
        raise ClientError(
            f"{file}: damaged after {index} record(s), or no TFRecord: {_without_bytes(error)}. Get the file anew, or "
            "leave it out."
        ) from error
    except OSError as error:
        raise ClientError(f"{file}: cannot be read: {error.strerror}.") from error


def _open(file: str) -> gzip.GzipFile | BinaryIO:
    with Path(file).open("rb") as stream:
        is_gzip = stream.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    return gzip.open(file) if is_gzip else Path(file).open("rb")


def _without_bytes(error: Exception) -> str:
    # Beam ends its sentences with the record itself.
    return str(error).partition(": b'")[0]
