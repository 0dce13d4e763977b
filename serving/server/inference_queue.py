"""Calculates answers in threads, first come, first served, and keeps the limits on how many and how long."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from serving.server.errors import ErrorCode, ServingError
from serving.server.inference import Inference, Outputs, calculate

MAX_JOINED_IMAGES = 8
"""How many images of different requests are calculated in one call: more gain little, and wait for each other."""
MAX_WAIT_SECONDS = 0.005
"""How long a request waits for others while a thread is free."""

# Times are no exact numbers, and nobody looks again after the first time.
_CLOCK_SLACK_SECONDS = 0.0001


@dataclass(frozen=True, eq=False)
class _Waiting:
    inference: Inference
    answer: "asyncio.Future[Outputs]"
    on_end: Callable[[], None]
    since: float


class InferenceQueue:
    """Threads that calculate, and those who wait for them. All methods are called in the event loop.

    Small requests that wait for the same model are calculated together. While one thread calculates a few of them, a
    free one leaves others waiting, but only for some milliseconds, and not if there are enough for a batch.

    Args:
        max_concurrency: How many calls are calculated at a time.
        max_queue: How many more requests may wait.
        timeout_seconds: How long one may wait and be calculated, both together.
    """

    def __init__(self, max_concurrency: int, max_queue: int, timeout_seconds: float) -> None:
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="inference")
        self._max_concurrency = max_concurrency
        self._limit = max_concurrency + max_queue
        self._timeout_seconds = timeout_seconds
        self._waiting: deque[_Waiting] = deque()
        self._running: list[list[_Waiting]] = []
        self._num_accepted = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self, inference: Inference, on_end: Callable[[], None]) -> Outputs:
        """Calculates when its turn comes.

        Args:
            inference: What to calculate.
            on_end: Called when it has been calculated or never will be. That may be after the client has been told
                that it took too long.

        Raises:
            ServingError: Too many are waiting, it took too long, or the model refuses it.
        """
        if self._num_accepted >= self._limit:
            message = "The batch scheduling queue to which this task was submitted is full"
            on_end()
            raise ServingError(ErrorCode.UNAVAILABLE, message)
        self._num_accepted += 1
        self._idle.clear()
        loop = asyncio.get_running_loop()
        waiting = _Waiting(inference, loop.create_future(), on_end, loop.time())
        self._waiting.append(waiting)
        self._start_batches()
        if self._waiting:
            loop.call_later(MAX_WAIT_SECONDS, self._start_batches)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await waiting.answer
        except TimeoutError as error:
            message = f"The request was not answered within {self._timeout_seconds:g} s."
            raise ServingError(ErrorCode.DEADLINE_EXCEEDED, message) from error
        finally:
            # A client that is gone, or was told to go, leaves its turn to the next.
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._end(waiting)
            # An error that it holds would hold this frame, and with it all that was sent.
            del waiting

    async def wait_until_idle(self, seconds: float) -> bool:
        """Waits until nothing is calculated.

        Returns:
            Whether that came to pass in time.
        """
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Ends the threads when they have calculated what they are at; what waits is dropped."""
        for waiting in self._waiting:
            waiting.answer.cancel()
        await asyncio.to_thread(self._threads.shutdown)

    def _start_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._may_start(loop.time()):
            batch = self._take_batch()
            self._running.append(batch)
            self._threads.submit(self._calculate, batch, loop)

    def _may_start(self, now: float) -> bool:
        if len(self._running) == self._max_concurrency:
            return False
        if all(_num_images(batch) >= MAX_JOINED_IMAGES for batch in self._running):
            return True
        if _num_images(self._waiting) >= MAX_JOINED_IMAGES:
            return True
        return now - self._waiting[0].since >= MAX_WAIT_SECONDS - _CLOCK_SLACK_SECONDS

    def _take_batch(self) -> list[_Waiting]:
        batch = [self._waiting.popleft()]
        num_images = batch[0].inference.num_images
        for waiting in tuple(self._waiting):
            if num_images >= MAX_JOINED_IMAGES:
                break
            sum_images = num_images + waiting.inference.num_images
            if sum_images <= MAX_JOINED_IMAGES and waiting.inference.can_join(batch[0].inference):
                self._waiting.remove(waiting)
                batch.append(waiting)
                num_images = sum_images
        return batch

    def _calculate(self, batch: list[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        answers = calculate([waiting.inference for waiting in batch])
        loop.call_soon_threadsafe(self._deliver, batch, answers)

    def _deliver(self, batch: list[_Waiting], answers: Sequence[Outputs | Exception]) -> None:
        self._running.remove(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            self._end(waiting)
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
        self._start_batches()

    def _end(self, waiting: _Waiting) -> None:
        self._num_accepted -= 1
        if not self._num_accepted:
            self._idle.set()
        waiting.on_end()


def _num_images(batch: "Sequence[_Waiting] | deque[_Waiting]") -> int:
    return sum(waiting.inference.num_images for waiting in batch)
