import gzip
import pickle
import string
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fsspec.implementations.local import LocalFileSystem

from components.example_gen.sources.errors import DataError
from components.example_gen.sources.storage import (
    access,
    decompressed,
    exists,
    full_uri,
    in_parallel,
    is_folder,
    list_folder,
    opened,
    plain_path,
    read_exactly,
)


def test_lists_a_folder_in_order_without_hidden_files_or_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    invalidated: list[str] = []
    monkeypatch.setattr(LocalFileSystem, "invalidate_cache", lambda self, path: invalidated.append(path))
    entries = list_folder(str(tmp_path))
    assert [(entry.name, entry.is_folder) for entry in entries] == [("a", False), ("b", False), ("c", True)]
    assert entries[0].uri == f"file://{tmp_path}/a"
    assert invalidated == [str(tmp_path)]


@pytest.mark.parametrize("uri", ["https://host/digits", "file:///digits"])
def test_full_uris_have_no_trailing_slash(uri: str) -> None:
    assert full_uri(uri) == full_uri(f"{uri}/") == uri


def test_decodes_paths_of_web_servers_only() -> None:
    assert plain_path("https://host/a%20b.png") == "https://host/a b.png"
    assert plain_path("file:///a%20b.png") == "/a%20b.png"


def test_missing_files(tmp_path: Path) -> None:
    uri = str(tmp_path / "none")
    assert not exists(uri)
    assert not is_folder(uri)
    with pytest.raises(DataError, match=r"none: found nothing at this path, expected a file or folder"), opened(uri):
        pass


def test_a_path_that_is_not_utf_8() -> None:
    with pytest.raises(
        DataError, match=r"^data/caf\\udce9.npz: found a name that is not UTF-8, expected a name in UTF-8"
    ):
        full_uri("data/caf\udce9.npz")


def test_a_server_that_does_not_answer() -> None:
    # No server listens on the port of the discard protocol.
    with pytest.raises(
        DataError, match=r"^http://127.0.0.1:9/mnist.npz: found ClientConnectorError: .*; check the address"
    ):
        is_folder("http://127.0.0.1:9/mnist.npz")


def driver_error(message: str) -> Exception:
    """Makes an error of a driver that is not installed here."""
    error: Exception = type("Exception", (Exception,), {"__module__": "botocore.exceptions"})(message)
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            PermissionError(13, "Permission denied"),
            r"PermissionError: \[Errno 13\] Permission denied, .*; check the address",
        ),
        (TimeoutError("slow"), "TimeoutError: slow, expected readable data; check the address"),
        (aiohttp.ClientPayloadError("cut off"), "ClientPayloadError: cut off, expected readable data"),
        (driver_error("no credentials"), "Exception: no credentials, expected readable data"),
        (FileNotFoundError("a"), "nothing at this path, expected a file or folder"),
        (
            ValueError("The HTTP server doesn't appear to support range requests. Only reading"),
            "a web server that only sends whole files, .*; download the data",
        ),
    ],
)
def test_failures_have_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(LocalFileSystem, "open", fail)
    with pytest.raises(DataError, match=rf"a.npz: found {message}"), opened(str(tmp_path / "a.npz")):
        pass


def test_a_web_server_that_refuses_access() -> None:
    with (
        pytest.raises(DataError, match=r"https://a/b: found nothing at this path \(OSError: 403 Forbidden\)"),
        access("https://a/b"),
    ):
        raise FileNotFoundError("https://a/b") from OSError("403 Forbidden")


@pytest.mark.parametrize("error", [KeyError("bug"), DataError("a", "HTTP", "something else", "try again")])
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, access("b"):
        raise error
    assert raised.value is error


# The names of tests must not contain the time, because all workers of pytest-xdist must have the same names.
compress = partial(gzip.compress, mtime=0)


@pytest.mark.parametrize("content", [b"0123456789", compress(b"0123456789"), compress(b"012345") + compress(b"6789")])
def test_plain_and_gzipped_files_read_the_same(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with decompressed(str(tmp_path / "a")) as stream:
        stream.seek(3)
        assert read_exactly(stream, 4, "a") == b"3456"
        with pytest.raises(DataError, match="^a: found only 3 of 4 bytes, expected a complete file; down"):
            read_exactly(stream, 4, "a")


@pytest.mark.parametrize("pack", [bytes, compress])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            b"<!DOCTYPE html>\n<html><head><title>403\nForbidden</title>",
            r"an HTML page \('403.*Forbidden'\), expected data",
        ),
        (b"\n<HTML>", "an HTML page, expected data"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:",
            "a Git LFS pointer, expected data .*; run: git lfs",
        ),
        (pickle.dumps(([1], [2])), "a Python pickle, which may run any program, .*; convert it: numpy.savez"),
        (b"% MNIST\n@RELATION mnist_784", "an ARFF file, .*; save it as CSV"),
        (b"data".ljust(257, b"\0") + b"ustar", "a tar archive, .*; extract it, and pass the folder"),
    ],
)
def test_names_what_is_often_saved_instead_of_data(
    tmp_path: Path, pack: Callable[[bytes], bytes], content: bytes, found: str
) -> None:
    (tmp_path / "mnist.gz").write_bytes(pack(content))
    with (
        pytest.raises(DataError, match=f"(?s)^{tmp_path}/mnist.gz: found {found}"),
        decompressed(f"{tmp_path}/mnist.gz"),
    ):
        pass


def test_parallel_results_are_in_order() -> None:
    assert list(in_parallel(str.upper, string.ascii_lowercase)) == list(string.ascii_uppercase)


def test_the_first_error_in_order_is_raised() -> None:
    second_failed = threading.Event()

    def fail(name: str) -> None:
        if name == "second":
            second_failed.set()
            raise KeyError(name)
        assert second_failed.wait(10)
        # Leaves time to raise the second error first.
        time.sleep(0.2)
        raise ValueError(name)

    with pytest.raises(ValueError, match=r"^first$"):
        list(in_parallel(fail, ["first", "second"]))
