"""Access to files through fsspec, with every failure of a file system turned into one kind of error."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import unquote

from fsspec.core import url_to_fs

from components.example_gen.sources.errors import DataError

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}

# The drivers of remote file systems share no base class of errors, and importing them for theirs would need them all.
_DRIVERS = {"aiohttp", "aiobotocore", "botocore", "gcsfs", "google"}

# Reading many small files of an object store is waiting for it, hence more threads than there are processors.
_NUM_THREADS = 16

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Entry(NamedTuple):
    """A file or folder in a folder.

    Attributes:
        name: Its name without the folder.
        uri: Its full URI.
        is_folder: Whether it is a folder.
    """

    name: str
    uri: str
    is_folder: bool


def locate(uri: str) -> tuple[Any, str]:
    """Finds the file system of a URI.

    Args:
        uri: A local path or a URI of any scheme that fsspec knows.

    Returns:
        The file system (an `fsspec.AbstractFileSystem`) and the path in it.

    Raises:
        DataError: The scheme is unknown, or its driver is not installed.
    """
    try:
        return url_to_fs(uri)
    except ImportError as error:
        extra = _EXTRAS.get(uri.partition("://")[0])
        fix = f"install it: .uv/bin/uv sync --inexact --extra {extra}" if extra else f"install that driver ({error})"
        raise DataError(uri, "no driver for this kind of URI", "an installed fsspec driver", fix) from error
    except ValueError as error:
        expected = "a local path or a URI such as s3://, gs:// or https://"
        raise DataError(uri, f"a URI that cannot be opened ({error})", expected, "correct the URI") from error


def full_uri(uri: str) -> str:
    """Makes a URI independent of the folder a process runs in: `data/a` becomes `file:///.../data/a`."""
    file_system, path = locate(uri)
    return str(file_system.unstrip_protocol(path.rstrip("/") or path))


def plain_path(uri: str) -> str:
    """Gives the path of a full URI as it is elsewhere: only web servers list names percent-encoded."""
    path = locate(uri)[1]
    return unquote(path) if uri.startswith(("http://", "https://")) else path


@contextmanager
def access(uri: str) -> Iterator[None]:
    """Turns every failure to reach a file or folder into a DataError.

    Args:
        uri: What is reached, for the message.

    Raises:
        DataError: The file is missing, may not be read, or its server does not answer.
    """
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        # The HTTP file system reports every failure as a missing file and hides the reason in the cause.
        reason = f" ({_reason(error.__cause__)})" if error.__cause__ else ""
        raise DataError(uri, f"nothing at this path{reason}", "a file or folder", "correct the path") from error
    except Exception as error:
        if lacks_ranges(error):
            expected = "one that answers range requests"
            raise DataError(uri, "a web server that only sends whole files", expected, "download the data") from error
        if not _is_failed_access(error):
            raise
        raise DataError(uri, _reason(error), "data that can be read", "make it reachable and readable") from error


def lacks_ranges(error: Exception) -> bool:
    """Tells whether fsspec failed because a web server cannot send parts of a file: a ValueError like others."""
    return isinstance(error, ValueError) and "HTTP server doesn't appear to support range requests" in str(error)


def is_folder(uri: str) -> bool:
    """Tells whether there is a folder at a URI; a missing path is not one."""
    file_system, path = locate(uri)
    with access(uri):
        return bool(file_system.isdir(path))


def exists(uri: str) -> bool:
    """Tells whether there is a file or folder at a URI."""
    file_system, path = locate(uri)
    with access(uri):
        return bool(file_system.exists(path))


def list_folder(uri: str) -> list[Entry]:
    """Lists a folder, afresh rather than from a cache.

    Args:
        uri: URI of the folder.

    Returns:
        Its files and folders sorted by name, without those whose name starts with a dot.

    Raises:
        DataError: The folder cannot be listed.
    """
    file_system, path = locate(uri)
    with access(uri):
        # fsspec keeps listings as long as the process lives: new files of an object store would never show.
        file_system.invalidate_cache(path)
        found = [info for info in file_system.ls(path, detail=True) if info["name"].rstrip("/") != path.rstrip("/")]
    entries = [_entry(file_system, info) for info in found]
    # Index pages of web servers link to sorted versions of themselves ("?C=N;O=D").
    return sorted(entry for entry in entries if not entry.name.startswith((".", "?")))


@contextmanager
def opened(uri: str) -> Iterator[IO[bytes]]:
    """Opens a file for reading; failures while it is read are a DataError, too.

    Args:
        uri: URI of the file.

    Yields:
        The file, readable and seekable.

    Raises:
        DataError: The file cannot be opened or read.
    """
    file_system, path = locate(uri)
    with access(uri), file_system.open(path, "rb") as file:
        yield file


def in_parallel(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Applies a function that waits for storage to many items, in threads.

    Args:
        function: Called once per item.
        items: What it is called with.

    Yields:
        The results in the order of the items; the first error in that order is raised.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as executor:
        yield from executor.map(function, items)


def _entry(file_system: Any, info: dict[str, Any]) -> Entry:
    path = info["name"].rstrip("/")
    # The local file system lists a link as neither file nor folder.
    leads_to_folder = info["type"] == "other" and file_system.isdir(path)
    uri = str(file_system.unstrip_protocol(path))
    return Entry(plain_path(uri).rpartition("/")[2], uri, info["type"] == "directory" or leads_to_folder)


def _is_failed_access(error: Exception) -> bool:
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(modules & _DRIVERS)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
