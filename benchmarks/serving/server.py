"""What the clients talk to: `digits serve` as a process, the models it serves, and the loop it is compared with."""

import asyncio
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
import psutil

from benchmarks.mnist import NUM_DIGITS, to_digits
from benchmarks.serving.traffic import INPUTS, NUM_IMAGES, Address, Answer, make_images
from registry.publishing import new_folder, sole_writer, write_files
from registry.signatures import DEFAULT_MODEL_NAME, LABEL_OUTPUT, STATUS_OUTPUT
from tests.support.serve_process import ServeProcess, digits_serve

if TYPE_CHECKING:
    from serving.server.model import LoadedModel

_SWAP_SECONDS = 60.0
_POLL_SECONDS = 0.05
_WARM_UP_SECONDS = 0.3

# Only set in the process of the loop.
_model: "LoadedModel"


class ServerError(RuntimeError):
    """The server did not answer as expected."""


class Server:
    """A running `digits serve`.

    Attributes:
        serving_directory: Folder of the version folders that it watches.
        address: Where it listens.
        process: The process, to measure its memory.
    """

    def __init__(self, workspace: Path, served: ServeProcess) -> None:
        """Describes a process that has started.

        Args:
            workspace: Its workspace.
            served: The process.
        """
        self.serving_directory = workspace / "serving" / DEFAULT_MODEL_NAME
        self.address = Address(served.address("REST"), served.address("gRPC"))
        self.process = psutil.Process(served.process.pid)

    async def wait_until_serves(self, number: int) -> None:
        """Waits until the server reports that it serves this version and no other.

        Raises:
            ServerError: It does not within a minute, or has ended.
        """
        try:
            async with asyncio.timeout(_SWAP_SECONDS), aiohttp.ClientSession() as session:
                while await _live_versions(session, self.address.model_url) != {number: "AVAILABLE"}:
                    if self.process.status() == psutil.STATUS_ZOMBIE:
                        raise ServerError("digits serve has ended.")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ServerError(f"version {number} is not served alone after {_SWAP_SECONDS:.0f} s.") from None


@contextmanager
def run_server(workspace: Path) -> Iterator[Server]:
    """Runs a server whose workspace has a version; it serves that version when the context starts."""
    with digits_serve(workspace) as served:
        yield Server(workspace, served)


async def _live_versions(session: aiohttp.ClientSession, url: str) -> dict[int, str]:
    try:
        async with session.get(url) as response:
            body = await response.json()
    except aiohttp.ClientConnectionError:
        return {}
    # An unloaded version stays in the list.
    statuses = body.get("model_version_status", [])
    return {int(each["version"]): each["state"] for each in statuses if each["state"] != "END"}


@dataclass(frozen=True)
class TwoModels:
    """A model, and one that answers the next digit: seven if the first answers six, zero after nine.

    Attributes:
        original: Folder of the SavedModel; pushed under odd numbers.
        shifted: Folder of the other; pushed under even numbers.
    """

    original: Path
    shifted: Path

    def push(
        self, number: int, serving_directory: Path, damage: Callable[[Path], object] = lambda folder: None
    ) -> float:
        """Publishes the model of a version number.

        Args:
            number: The version number.
            serving_directory: Folder of the versions.
            damage: Changes the files of the version before it is published.

        Returns:
            A time before any server could see the version, in seconds of `time.perf_counter`.
        """
        model = self.shifted if digit_shift(number) else self.original
        files = {str(file.relative_to(model)): file for file in model.rglob("*") if file.is_file()}
        with sole_writer(serving_directory):
            started = time.perf_counter()
            with new_folder(serving_directory / str(number)) as folder:
                write_files(folder, files)
                damage(folder)
        return started


def _cut(path: str, size: int) -> Callable[[Path], object]:
    return lambda folder: os.truncate(folder / path, size)


_VARIABLES = "variables/variables.data-00000-of-00001"
DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "empty graph": _cut("saved_model.pb", 0),
    "truncated graph": _cut("saved_model.pb", 10_000),
    "another file as graph": lambda folder: shutil.copyfile(folder / _VARIABLES, folder / "saved_model.pb"),
    "truncated variables": _cut(_VARIABLES, 10_000),
    "missing variables": lambda folder: shutil.rmtree(folder / "variables"),
}
"""Functions that damage a version, by the kind of damage."""


def digit_shift(number: int) -> int:
    """Returns how much higher the digits of a version are than those of the original model: 1 or 0."""
    return 0 if number % 2 else 1


def make_two_models(model: Path, directory: Path) -> TwoModels:
    """Copies a model into a folder, and creates the other one by moving the weights of its last layer by one class.

    The graph stays the same, so both models cost the same.

    Args:
        model: Folder of a SavedModel in which only the last layer has ten outputs.
        directory: Where to write the two.
    """
    import tensorflow as tf

    original = Path(shutil.copytree(model, directory / "original"))
    shifted = Path(shutil.copytree(model, directory / "shifted"))
    checkpoint = str(shifted / "variables" / "variables")
    reader = tf.train.load_checkpoint(checkpoint)
    names = sorted(reader.get_variable_to_shape_map())
    tensors = [_shifted(reader.get_tensor(name)) for name in names]
    del reader
    tf.raw_ops.SaveV2(prefix=checkpoint, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    return TwoModels(original, shifted)


def _shifted(tensor: np.ndarray | bytes) -> np.ndarray | bytes:
    is_last_layer = isinstance(tensor, np.ndarray) and tensor.ndim and tensor.shape[-1] == NUM_DIGITS
    return np.roll(tensor, 1, axis=-1) if is_last_layer else tensor


class LoopProcess:
    """A process that loads the same model and only calls it in a loop; it also computes the expected answers."""

    def __init__(self, model: Path) -> None:
        """Starts it; call `close` at the end."""
        self._executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _load, (model,))

    def close(self) -> None:
        """Ends the process."""
        self._executor.shutdown(cancel_futures=True)

    async def expected(self, signature: str) -> Answer:
        """Returns the answer of the model to the images of `make_images`."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, _expected, signature)

    async def calls_per_second(self, signature: str, batch_size: int, seconds: float) -> float:
        """Calls the model for some seconds, with batches of a size, and returns the rate."""
        arguments = (signature, batch_size, seconds)
        return await asyncio.get_running_loop().run_in_executor(self._executor, _calls_per_second, *arguments)


def _load(model: Path) -> None:
    from serving.server.model import LoadedModel

    global _model
    _model = LoadedModel(model)
    _model.warm_up()


def _expected(signature: str) -> Answer:
    answers = _model.run(signature, {INPUTS[signature]: make_images(signature)})
    return Answer(to_digits(answers[LABEL_OUTPUT]), answers[STATUS_OUTPUT].astype(np.bytes_))


def _calls_per_second(signature: str, batch_size: int, seconds: float) -> float:
    batches = np.split(make_images(signature), NUM_IMAGES // batch_size)

    def call(until: float) -> int:
        num_calls = 0
        while time.perf_counter() < until:
            _model.run(signature, {INPUTS[signature]: batches[num_calls % len(batches)]})
            num_calls += 1
        return num_calls

    call(time.perf_counter() + _WARM_UP_SECONDS)
    started = time.perf_counter()
    return call(started + seconds) / (time.perf_counter() - started)
