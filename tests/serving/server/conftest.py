"""A development server with both APIs on free ports."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from registry.signing import TrustPolicy
from serving.server.interface import ServerOptions
from serving.server.run import Addresses, running_server

TIMEOUT_SECONDS = 300

MODELS_CONFIG = """
model_config_list { config {
  name: "digits"
  model_version_policy { all {} }
  version_labels { key: "stable" value: 1 }
} }
"""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs tests that are coroutines."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), TIMEOUT_SECONDS))
    return True


@dataclass(frozen=True)
class Running:
    """A running server and its printed lines."""

    addresses: Addresses
    said: list[str]

    @property
    def model_url(self) -> str:
        return f"{self.addresses.rest_url}/v1/models/digits"


@contextmanager
def _run_in_thread(root: Path, **options: Any) -> Iterator[Running]:
    started = Event()
    said: list[str] = []
    running: list[Any] = []

    async def main() -> None:
        limits = ServerOptions(root, TrustPolicy(allow_unverified=True), poll_seconds=0.05, grace_seconds=5, **options)
        async with running_server(limits, Addresses("127.0.0.1", 0, 0), said.append) as (_, addresses):
            stopping = asyncio.Event()
            running.append((addresses, asyncio.get_running_loop(), stopping))
            started.set()
            await stopping.wait()

    thread = Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(60)
    addresses, loop, stopping = running[0]
    try:
        yield Running(addresses, said)
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(60)


@pytest.fixture(scope="session")
def running(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serves versions 1, which is `stable`, and 2 of `digits`; images must be 28x28."""
    root = tmp_path_factory.mktemp("serving")
    (root / "digits").mkdir()
    for version in (1, 2):
        tiny_model(root / "digits", version)
    (root / "models.config").write_text(MODELS_CONFIG)
    with _run_in_thread(root, max_body_bytes=2**20, max_batch_size=16) as server:
        yield server


@pytest.fixture(scope="session")
def run_in_thread() -> Callable[..., AbstractContextManager[Running]]:
    """Runs a server in a context: called with the serving folder and ServerOptions."""
    return _run_in_thread
