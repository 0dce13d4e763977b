"""`digits serve` as a process of its own, as a user starts it."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import psutil

from benchmarks.serving.clients import Address
from registry.signatures import DEFAULT_MODEL_NAME

# Loading TensorFlow and a version, on a machine that does other things as well.
_START_SECONDS = 180.0
_SWAP_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_NUM_LOG_LINES = 30


class ServerError(RuntimeError):
    """The server did not do what it should; the message holds the end of what it said."""


class ServerProcess:
    """A running server.

    Attributes:
        serving_directory: Folder of the version folders that it watches.
        address: Where it listens.
        process: The process, to be measured.
    """

    def __init__(self, workspace: Path, address: Address) -> None:
        """Starts it; use `run_server`.

        Args:
            workspace: Its workspace; `serving/digits` in it holds at least one version.
            address: Free ports.
        """
        self.serving_directory = serving_directory(workspace)
        self.address = address
        self._log_file = workspace / "serve.log"
        command = [sys.executable, "-m", "pipeline.cli.main", "serve", "--workspace", str(workspace)]
        ports = ["--rest-port", str(address.rest_port), "--grpc-port", str(address.grpc_port)]
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen([*command, *ports], stdout=log, stderr=subprocess.STDOUT)
        self.process = psutil.Process(self._process.pid)

    async def wait_until_serves(self, number: int, seconds: float = _SWAP_SECONDS) -> None:
        """Waits until the server says that a version answers, and no other.

        Args:
            number: Of the version.
            seconds: How long to wait at most.

        Raises:
            ServerError: It does not come to pass, or the server has ended.
        """
        url = f"http://127.0.0.1:{self.address.rest_port}/v1/models/{DEFAULT_MODEL_NAME}"
        try:
            async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
                while await _live_versions(session, url) != {number: "AVAILABLE"}:
                    self._require_alive()
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise self._error(f"does not serve version {number} alone after {seconds:.0f} s") from None

    def stop(self) -> None:
        """Ends the server as an operator does, and waits for its end.

        Raises:
            ServerError: It does not end by itself, or not well.
        """
        self._require_alive()
        self._process.send_signal(signal.SIGTERM)
        try:
            exit_code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._error(f"has not ended {_STOP_SECONDS:.0f} s after SIGTERM") from None
        if exit_code:
            raise self._error(f"ended with exit code {exit_code} after SIGTERM")

    def kill(self) -> None:
        """Ends the server at once, if it still runs."""
        self._process.kill()
        self._process.wait()

    def _require_alive(self) -> None:
        if self._process.poll() is not None:
            raise self._error(f"ended with exit code {self._process.returncode}")

    def _error(self, what: str) -> ServerError:
        lines = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-_NUM_LOG_LINES:]
        return ServerError("\n".join([f"digits serve {what}; the end of its output:", *lines]))


def serving_directory(workspace: Path) -> Path:
    """Returns the folder of the version folders in a workspace."""
    return workspace / "serving" / DEFAULT_MODEL_NAME


@asynccontextmanager
async def run_server(workspace: Path, number: int) -> AsyncIterator[ServerProcess]:
    """Runs a server while the context lasts.

    Args:
        workspace: Its workspace.
        number: Of the only version in it.

    Yields:
        The server, which serves that version.

    Raises:
        ServerError: It does not start, or does not end well.
    """
    server = ServerProcess(workspace, _free_address())
    try:
        await server.wait_until_serves(number, _START_SECONDS)
        yield server
        server.stop()
    finally:
        server.kill()


def _free_address() -> Address:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        return Address(*(listener.getsockname()[1] for listener in listeners))


async def _live_versions(session: aiohttp.ClientSession, url: str) -> dict[int, str]:
    try:
        async with session.get(url) as response:
            body = await response.json()
    except aiohttp.ClientConnectionError:
        return {}
    # A version that has been loaded and dropped again stays in the list.
    statuses = body.get("model_version_status", [])
    return {int(each["version"]): each["state"] for each in statuses if each["state"] != "END"}
