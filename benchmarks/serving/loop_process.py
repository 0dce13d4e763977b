"""The process that the server is compared with: it loads the same model and calls it in a loop, and does nothing else.

It also says what the model answers, so that a wrong answer of the server shows.
"""

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.images import INPUTS, Case, batch_positions, make_images
from benchmarks.serving.messages import Expected
from registry.signatures import DIGIT_OUTPUT, STATUS_OUTPUT

if TYPE_CHECKING:
    from serving.server.model import LoadedModel

_WARM_UP_SECONDS = 0.3

# Of the process of the loop alone: set when it starts.
_model: "LoadedModel"


class LoopProcess:
    """The process; end it by leaving the `with` block."""

    def __init__(self, model: Path) -> None:
        """Starts it.

        Args:
            model: Folder of the SavedModel.
        """
        self._executor = ProcessPoolExecutor(
            max_workers=1, mp_context=multiprocessing.get_context("spawn"), initializer=_load, initargs=(model,)
        )

    def __enter__(self) -> "LoopProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    async def expected(self, signature: str) -> Expected:
        """Returns what the model answers to the images of `make_images`."""
        return await self._run(_expected, signature)

    async def calls_per_second(self, case: Case, num_threads: int, seconds: float) -> float:
        """Measures how often the model can be called.

        Args:
            case: With which inputs.
            num_threads: How many threads call it.
            seconds: For how long.
        """
        return await self._run(_calls_per_second, case, num_threads, seconds)

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)


def _load(model: Path) -> None:
    from serving.server.model import LoadedModel

    global _model
    _model = LoadedModel(model)
    _model.warm_up()


def _expected(signature: str) -> Expected:
    answers = _model.run(signature, {INPUTS[signature]: make_images(signature)})
    return Expected(answers[DIGIT_OUTPUT], answers[STATUS_OUTPUT].astype(np.bytes_))


def _calls_per_second(case: Case, num_threads: int, seconds: float) -> float:
    images = make_images(case.signature)
    batches = [images[positions] for positions in batch_positions(case.batch_size, np.arange(len(images)))]
    _count_calls(case, batches, num_threads, _WARM_UP_SECONDS)
    started = time.perf_counter()
    num_calls = _count_calls(case, batches, num_threads, seconds)
    return num_calls / (time.perf_counter() - started)


def _count_calls(case: Case, batches: list[NDArray[np.generic]], num_threads: int, seconds: float) -> int:
    counts = [0] * num_threads
    end = time.perf_counter() + seconds

    def call(thread: int) -> None:
        while time.perf_counter() < end:
            _model.run(case.signature, {INPUTS[case.signature]: batches[counts[thread] % len(batches)]})
            counts[thread] += 1

    threads = [threading.Thread(target=call, args=(number,)) for number in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)
