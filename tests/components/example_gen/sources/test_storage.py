import threading
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fsspec.implementations.local import LocalFileSystem

from components.example_gen.sources.errors import DataError
from components.example_gen.sources.storage import (
    access,
    exists,
    full_uri,
    in_parallel,
    is_folder,
    list_folder,
    opened,
    plain_path,
)


def test_lists_a_folder_in_order_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    entries = list_folder(str(tmp_path))
    assert [(entry.name, entry.is_folder) for entry in entries] == [("a", False), ("b", False), ("c", True)]
    assert entries[0].uri == f"file://{tmp_path}/a"


def test_lists_a_folder_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []
    monkeypatch.setattr(LocalFileSystem, "invalidate_cache", lambda self, path: forgotten.append(path))
    list_folder(str(tmp_path))
    assert forgotten == [str(tmp_path)]


@pytest.mark.parametrize("uri", ["https://host/digits", "memory:///digits", "file:///digits"])
def test_full_uris_do_not_depend_on_a_last_slash(uri: str) -> None:
    assert full_uri(uri) == full_uri(f"{uri}/") == uri


def test_missing_files(tmp_path: Path) -> None:
    uri = str(tmp_path / "none")
    assert not exists(uri)
    assert not is_folder(uri)
    with pytest.raises(DataError, match=r"none: found nothing at this path, expected a file or folder"), opened(uri):
        pass


def test_a_server_that_does_not_answer() -> None:
    # No server listens at the port of the discard protocol.
    with pytest.raises(
        DataError, match=r"^http://127.0.0.1:9/mnist.npz: found ClientConnectorError: .*; make it reach"
    ):
        is_folder("http://127.0.0.1:9/mnist.npz")


def failure(kind: type[Exception], message: str) -> Exception:
    """Makes an error whose class came from a driver that is not installed here."""
    error: Exception = type(kind.__name__, (kind,), {"__module__": "botocore.exceptions"})(message)
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied"), r"PermissionError: \[Errno 13\] Permission denied"),
        (TimeoutError("slow"), "TimeoutError: slow"),
        (aiohttp.ClientPayloadError("cut off"), "ClientPayloadError: cut off"),
        (failure(Exception, "no credentials"), "Exception: no credentials"),
    ],
)
def test_failures_have_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(LocalFileSystem, "open", fail)
    with (
        pytest.raises(DataError, match=rf"a.npz: found {message}.*, expected data that can be read; make"),
        opened(str(tmp_path / "a.npz")),
    ):
        pass


def test_a_web_server_reports_failures_as_missing_files() -> None:
    with (
        pytest.raises(DataError, match=r"https://a/b: found nothing at this path \(OSError: 403 Forbidden\)"),
        access("https://a/b"),
    ):
        raise FileNotFoundError("https://a/b") from OSError("403 Forbidden")


def test_a_web_server_that_only_sends_whole_files() -> None:
    message = "https://a/b: found a web server that only sends whole files, .*; download the data"
    with pytest.raises(DataError, match=message), access("https://a/b"):
        raise ValueError("The HTTP server doesn't appear to support range requests. Only reading")


def test_web_servers_encode_names() -> None:
    assert plain_path("https://host/a%20b.png") == "https://host/a b.png"
    assert plain_path("file:///a%20b.png") == "/a%20b.png"


def test_mistakes_in_code_are_no_data_errors() -> None:
    with pytest.raises(KeyError, match=r"mistake"), access("a"):
        raise KeyError("mistake")


def test_data_errors_stay_as_they_are() -> None:
    error = DataError("a", "HTTP", "something else", "try again")
    with pytest.raises(DataError) as raised, access("b"):
        raise error
    assert raised.value is error


def test_parallel_results_are_in_order() -> None:
    assert list(in_parallel(lambda number: number * 2, range(100))) == list(range(0, 200, 2))


def test_the_first_error_in_order_is_raised() -> None:
    second_failed = threading.Event()

    def fail(name: str) -> None:
        if name == "second":
            second_failed.set()
            raise KeyError(name)
        assert second_failed.wait(10)
        # Time for whoever would take errors as they come.
        time.sleep(0.2)
        raise ValueError(name)

    with pytest.raises(ValueError, match=r"^first$"):
        list(in_parallel(fail, ["first", "second"]))
