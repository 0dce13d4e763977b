"""Access to files through fsspec, with every failure of a file system as a DataError."""

import gzip
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import IO, Any, NamedTuple, TypeVar, cast
from urllib.parse import unquote

from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.zip import ZipFileSystem

from components.example_gen.sources.errors import DataError, corrupt, quoted

_GZIP_MAGIC = b"\x1f\x8b"

_ARCHIVE = "zip://"
_CHAIN = "::"

PROTOCOLS = ["file", "http", "https", "s3", "s3a", "gs", "gcs"]

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}

# The errors of remote file systems share no base class, and importing their classes would require every driver.
_DRIVERS = {"aiohttp", "aiobotocore", "botocore", "gcsfs", "google"}

# Threads mostly wait for an object store, so there may be more of them than processors.
_NUM_THREADS = 16
_MAX_WAITING = 64

# Left behind by file managers; hidden files are skipped, too.
_SYSTEM_FILES = {"__macosx", "thumbs.db", "desktop.ini"}

_HEAD_SIZE = 512

# What is often downloaded or saved instead of data: the first bytes, the kind of file, and what to do.
_NEAR_MISSES = (
    (
        rb"\s*<(!doctype html|html|head)",
        "an HTML page",
        "download the file itself, and look for the reason in the page",
    ),
    (rb"version https://git-lfs", "a Git LFS pointer", "run: git lfs pull"),
    (rb"\x80[\x02-\x05]", "a Python pickle, which may run any program", "convert it: numpy.savez_compressed"),
    (rb"\x89HDF", "an HDF5 file", "convert it: numpy.savez_compressed"),
    (rb"MATLAB 5", "a MATLAB file", "convert it: numpy.savez_compressed"),
    (rb"(%.*\s)*@relation", "an ARFF file", "save it as CSV"),
    (rb"Rar!|7z\xbc\xaf|\xfd7zXZ|BZh", "an archive that is not zip", "extract it, and pass the folder"),
    (rb"(?s).{257}ustar", "a tar archive", "extract it, and pass the folder"),
)

_Result = TypeVar("_Result")


class Entry(NamedTuple):
    """A file or folder in a folder: its name, its full URI, its kind, and where it leads if it is a symbolic link."""

    name: str
    uri: str
    is_folder: bool
    link_target: str | None = None


def full_uri(uri: str) -> str:
    """Makes a URI independent of the working directory: `data/a` becomes `file:///.../data/a`."""
    inner, chain, archive = uri.partition(_CHAIN)
    if chain and inner.startswith(_ARCHIVE):
        return f"{inner.removesuffix('/') if inner != _ARCHIVE else inner}{_CHAIN}{full_uri(archive)}"
    return _uri(uri, *_locate(uri))


def archive_uri(uri: str) -> str:
    """Returns the URI of the content of a zip file, as fsspec names it: `zip://::file:///.../data.zip`."""
    return f"{_ARCHIVE}{_CHAIN}{uri}"


def plain_path(uri: str) -> str:
    """Returns the path of a full URI, decoded if it is percent-encoded as web servers do; in a zip file, that in it."""
    inner, chain, _ = uri.partition(_CHAIN)
    if chain and inner.startswith(_ARCHIVE):
        return inner.removeprefix(_ARCHIVE)
    path = _locate(uri)[1]
    return unquote(path) if uri.startswith(("http://", "https://")) else path


def sibling_uri(uri: str, name: str) -> str:
    """Returns the URI of another file in the folder of a file."""
    inner, chain, archive = uri.partition(_CHAIN)
    return f"{inner[: inner.rindex('/') + 1]}{name}{chain}{archive}"


def parent_uri(uri: str) -> str:
    """Returns the URI of the folder of a file or folder."""
    inner, chain, archive = uri.partition(_CHAIN)
    folder = inner[: inner.rindex("/")]
    # The root folder is `file:///` or `zip://`.
    return f"{folder}{'/' if folder.endswith('/') else ''}{chain}{archive}"


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
        if _CHAIN in uri and isinstance(error, (zipfile.BadZipFile, zlib.error, RuntimeError)):
            raise corrupt(uri, f"a damaged or encrypted zip archive ({error})", "an intact one") from error
        if lacks_ranges(error):
            expected = "one that supports range requests"
            raise DataError(uri, "a web server that only sends whole files", expected, "download the data") from error
        modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
        if not (isinstance(error, OSError) or modules & _DRIVERS):
            raise
        reason = f"{type(error).__name__}: {error}"
        raise DataError(uri, reason, "readable data", "check the address and your permissions") from error


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
    """Lists the files and folders in a folder by name, except hidden ones and those of the operating system."""
    with access(uri) as (file_system, path):
        # fsspec caches listings for the life of the process, which would hide new files of an object store.
        file_system.invalidate_cache(path)
        found = [info for info in file_system.ls(path, detail=True) if info["name"].rstrip("/") != path.rstrip("/")]
    entries = [_entry(uri, file_system, info) for info in found]
    # Index pages of web servers link to sorted versions of themselves ("?C=N;O=D").
    hidden = (".", "?")
    return sorted(
        entry for entry in entries if not entry.name.startswith(hidden) and entry.name.lower() not in _SYSTEM_FILES
    )


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
        DataError: The file cannot be read, its gzip data is incomplete or corrupt, or it is not data.
    """
    with opened(uri) as file:
        is_gzipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not is_gzipped:
            _check_head(file, uri)
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                _check_head(cast(IO[bytes], stream), uri)
                yield cast(IO[bytes], stream)
        except EOFError as error:
            raise corrupt(uri, "gzip data that ends too early", "a complete file") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise corrupt(uri, f"corrupt gzip data ({error})", "an intact gzip file") from error


def _check_head(file: IO[bytes], uri: str) -> None:
    head = file.read(_HEAD_SIZE)
    file.seek(0)
    for pattern, kind, fix in _NEAR_MISSES:
        if re.match(pattern, head, re.IGNORECASE):
            title = re.search(rb"(?is)<title>(.*?)</title>", head)
            page = f" ({quoted(title[1].decode('utf-8', 'replace').strip())})" if title else ""
            raise DataError(uri, f"{kind}{page}", "data in a supported format", fix)


def read_exactly(stream: IO[bytes], num_bytes: int, where: str) -> bytes:
    """Reads a number of bytes; raises a DataError with the place `where` if the stream ends early."""
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
    inner, chain, archive = uri.partition(_CHAIN)
    if chain and inner.startswith(_ARCHIVE):
        file_system, path = _locate(archive)
        return _open_archive(archive, file_system.ukey(path)), inner.removeprefix(_ARCHIVE)
    if chain or (split_protocol(uri)[0] or "file") not in PROTOCOLS:
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


# Otherwise each file would read the directory of the archive again.
@lru_cache(maxsize=4)
def _open_archive(uri: str, version: str) -> ZipFileSystem:
    file_system, path = _locate(uri)
    return ZipFileSystem(file_system.open(path, "rb"))


def _uri(like: str, file_system: Any, path: str) -> str:
    """Returns the full URI of a path in the same file system as another URI."""
    _, chain, archive = like.partition(_CHAIN)
    path = path.rstrip("/") or path
    return f"{_ARCHIVE}{path}{chain}{archive}" if chain else str(file_system.unstrip_protocol(path))


def _entry(folder: str, file_system: Any, info: dict[str, Any]) -> Entry:
    path = info["name"].rstrip("/")
    # The local file system lists a link as neither file nor folder.
    leads_to_folder = info["type"] == "other" and file_system.isdir(path)
    uri = _uri(folder, file_system, path)
    link_target = os.path.realpath(path) if info.get("islink") else None
    return Entry(plain_path(uri).rpartition("/")[2], uri, info["type"] == "directory" or leads_to_folder, link_target)
