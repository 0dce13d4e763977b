"""Access to files through fsspec, with every failure of a file system as a DataError."""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, TypeVar, cast
from urllib.parse import unquote

from fsspec.core import split_protocol, url_to_fs

from components.example_gen.sources.errors import DataError, corrupt

_GZIP_MAGIC = b"\x1f\x8b"

PROTOCOLS = ["file", "http", "https", "s3", "s3a", "gs", "gcs"]

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}

# The errors of remote file systems share no base class, and importing their classes would require every driver.
_DRIVERS = {"aiohttp", "aiobotocore", "botocore", "gcsfs", "google"}

# Threads mostly wait for an object store, so there may be more of them than processors.
_NUM_THREADS = 16
_MAX_WAITING = 64

_Result = TypeVar("_Result")


class Entry(NamedTuple):
    """A file or folder in a folder: its name, its full URI, its kind, and where it leads if it is a symbolic link."""

    name: str
    uri: str
    is_folder: bool
    link_target: str | None = None


def full_uri(uri: str) -> str:
    """Makes a URI independent of the working directory: `data/a` becomes `file:///.../data/a`."""
    file_system, path = _locate(uri)
    return str(file_system.unstrip_protocol(path.rstrip("/") or path))


def plain_path(uri: str) -> str:
    """Returns the path of a full URI, decoded if it is percent-encoded as web servers do."""
    path = _locate(uri)[1]
    return unquote(path) if uri.startswith(("http://", "https://")) else path


def relative_path(uri: str, folder: str) -> str:
    """Returns the path of a file in a folder, both given as full URIs."""
    return plain_path(uri).removeprefix(f"{plain_path(folder)}/")


@contextmanager
def access(uri: str) -> Iterator[tuple[Any, str]]:
    """Yields the file system of a URI and the path in it; converts every failure to reach that to a DataError."""
    try:
        yield _locate(uri)
    except DataError:
        raise
    except FileNotFoundError as error:
        # The HTTP file system reports every failure as a missing file and hides the reason in the cause.
        cause = error.__cause__
        reason = f" ({type(cause).__name__}: {cause})" if cause else ""
        raise DataError(uri, f"nothing at this path{reason}", "a file or folder", "correct the path") from error
    except Exception as error:
        if lacks_ranges(error):
            expected = "one that supports range requests"
            raise DataError(uri, "a web server that only sends whole files", expected, "download the data") from error
        modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
        if not (isinstance(error, OSError) or modules & _DRIVERS):
            raise
        reason = f"{type(error).__name__}: {error}"
        raise DataError(uri, reason, "readable data", "make it reachable and readable") from error


def lacks_ranges(error: Exception) -> bool:
    """Returns whether fsspec failed because a web server does not support range requests."""
    return isinstance(error, ValueError) and "HTTP server doesn't appear to support range requests" in str(error)


def is_folder(uri: str) -> bool:
    """Returns whether there is a folder at a URI."""
    with access(uri) as (file_system, path):
        return bool(file_system.isdir(path))


def exists(uri: str) -> bool:
    """Returns whether there is a file or folder at a URI."""
    with access(uri) as (file_system, path):
        return bool(file_system.exists(path))


def list_folder(uri: str) -> list[Entry]:
    """Lists the files and folders in a folder by name, except hidden ones."""
    with access(uri) as (file_system, path):
        # fsspec caches listings for the life of the process, which would hide new files of an object store.
        file_system.invalidate_cache(path)
        found = [info for info in file_system.ls(path, detail=True) if info["name"].rstrip("/") != path.rstrip("/")]
    entries = [_entry(file_system, info) for info in found]
    # Index pages of web servers link to sorted versions of themselves ("?C=N;O=D").
    return sorted(entry for entry in entries if not entry.name.startswith((".", "?")))


def list_tree(folder: str) -> Iterator[Entry]:
    """Yields the files in a folder and its subfolders, in the order of their paths, and symbolic links to folders."""
    for entry in list_folder(folder):
        if entry.is_folder and not entry.link_target:
            yield from list_tree(entry.uri)
        else:
            yield entry


@contextmanager
def opened(uri: str) -> Iterator[IO[bytes]]:
    """Opens a file for reading; failures while it is open are DataErrors as well."""
    with access(uri) as (file_system, path), file_system.open(path, "rb") as file:
        yield file


@contextmanager
def decompressed(uri: str) -> Iterator[IO[bytes]]:
    """Opens a plain or gzipped file for reading; its first bytes decide, since names are not reliable.

    Yields:
        A `gzip.GzipFile` if the file is gzipped, else the file itself.

    Raises:
        DataError: The file cannot be read, or its gzip data is incomplete or corrupt.
    """
    with opened(uri) as file:
        is_gzipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not is_gzipped:
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield cast(IO[bytes], stream)
        except EOFError as error:
            raise corrupt(uri, "gzip data that ends too early", "a complete file") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise corrupt(uri, f"corrupt gzip data ({error})", "an intact gzip file") from error


def read_exactly(stream: IO[bytes], num_bytes: int, where: str) -> bytes:
    """Reads a number of bytes; raises a DataError with the place `where` if the stream ends before."""
    data = stream.read(num_bytes)
    if len(data) < num_bytes:
        raise corrupt(where, f"only {len(data)} of {num_bytes} bytes", "a complete file")
    return data


def in_parallel(function: Callable[[str], _Result], uris: Sequence[str]) -> Iterator[_Result]:
    """Reads files in threads; yields the results, and raises errors, in order."""
    with ThreadPoolExecutor(_NUM_THREADS) as executor:
        # Limits the results that wait in memory.
        for start in range(0, len(uris), _MAX_WAITING):
            yield from executor.map(function, uris[start : start + _MAX_WAITING])


def _locate(uri: str) -> tuple[Any, str]:
    """Returns the file system of a URI (an `fsspec.AbstractFileSystem`) and the path in it."""
    if "::" in uri or (split_protocol(uri)[0] or "file") not in PROTOCOLS:
        # fsspec has protocols that run programs or open archives.
        expected = f"a local path, or a URI that starts with {', '.join(f'{each}://' for each in PROTOCOLS)}"
        raise DataError(uri, "an unsupported kind of URI", expected, "correct the URI")
    try:
        uri.encode()
        return url_to_fs(uri)
    except UnicodeEncodeError as error:
        where = uri.encode(errors="backslashreplace").decode()
        raise DataError(where, "a name that is not UTF-8", "a name in UTF-8", "rename it") from error
    except ImportError as error:
        extra = _EXTRAS.get(uri.partition("://")[0])
        fix = f"install it: .uv/bin/uv sync --inexact --extra {extra}" if extra else f"install that driver ({error})"
        raise DataError(uri, "no driver for this kind of URI", "an installed fsspec driver", fix) from error


def _entry(file_system: Any, info: dict[str, Any]) -> Entry:
    path = info["name"].rstrip("/")
    # The local file system lists a link as neither file nor folder.
    leads_to_folder = info["type"] == "other" and file_system.isdir(path)
    uri = str(file_system.unstrip_protocol(path))
    link_target = os.path.realpath(path) if info.get("islink") else None
    return Entry(plain_path(uri).rpartition("/")[2], uri, info["type"] == "directory" or leads_to_folder, link_target)
