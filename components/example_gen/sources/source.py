"""What every format of input data has in common, so that the pipeline reads any of them the same way."""

import hashlib
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from components.example_gen.sources.errors import DataError
from components.example_gen.sources.storage import in_parallel, opened, plain_path

__all__ = ["ALL", "RECORDS_PER_SHARE", "TEST", "TRAIN", "DataError", "Record", "Share", "Source", "fingerprint"]

# Origins of records: of a source with a test set of its own, and of one without.
TRAIN = "train"
TEST = "test"
ALL = "all"

# Six megabytes of pixels: small beside a worker's memory, large beside the cost of opening a file.
RECORDS_PER_SHARE = 8192

_BLOCK_SIZE = 2**20


class Record(NamedTuple):
    """A labelled image.

    Attributes:
        origin: `TRAIN` or `TEST` if the source comes with a test set of its own, else `ALL`.
        key: Identifies the record in its source, however the reading was shared out: origin and index from 0
            ("train/000123"), or the path of its file below the source's folder.
        image: uint8[28,28] row by row, 0 background to 255 ink, as 784 bytes.
        label: The class, 0 to 9.
    """

    origin: str
    key: str
    image: bytes
    label: int


class Share(ABC):
    """What one worker reads by itself: small, picklable, and complete without the source it comes from."""

    @abstractmethod
    def read(self) -> Iterator[Record]:
        """Reads the records of the share, in a fixed order.

        Yields:
            The records.

        Raises:
            DataError: A record is not what its format and the domain of the features ask for.
        """


@dataclass(frozen=True)
class Source(ABC):
    """Labelled images in files of one format.

    Attributes:
        format: Name of the format, for people.
        files: Full URIs of every file that is read, in a fixed order.
    """

    format: ClassVar[str]
    files: tuple[str, ...]

    @abstractmethod
    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """Shares the reading out, having validated headers, counts and sizes, but not the records themselves.

        Args:
            records_per_share: Largest number of records in a share, at least 1.

        Returns:
            Shares that have every record once between them, in a fixed order.

        Raises:
            DataError: A file is missing, damaged or of another shape or type than its format asks for.
        """


def fingerprint(source: Source) -> str:
    """Identifies the data of a source by name, size and content of its files, wherever they lie.

    Args:
        source: The source; its files are read once, in blocks.

    Returns:
        SHA-256 as 64 hexadecimal digits. Names count relative to the folder that the files have in common.

    Raises:
        DataError: A file cannot be read.
    """
    paths = [plain_path(uri) for uri in source.files]
    folder = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    digest = hashlib.sha256()
    for path, (size, content) in zip(paths, in_parallel(_digest, source.files), strict=True):
        digest.update(f"{posixpath.relpath(path, folder)}\0{size}\0{content}\n".encode())
    return digest.hexdigest()


def _digest(uri: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with opened(uri) as file:
        while block := file.read(_BLOCK_SIZE):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
