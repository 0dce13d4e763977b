"""A loaded version while it is served, which is not freed before its last request."""

import asyncio

from serving.server.loaded_model import LoadedModel


class ServedVersion:
    """A version and how many requests it is answering. All methods are called in the event loop.

    Args:
        number: Of the version.
        model: The loaded model.
    """

    def __init__(self, number: int, model: LoadedModel) -> None:
        self.number = number
        self.model = model
        self._num_requests = 0
        self._unused = asyncio.Event()
        self._unused.set()

    def acquire(self) -> None:
        """Begins a request."""
        self._num_requests += 1
        self._unused.clear()

    def release(self) -> None:
        """Ends a request."""
        self._num_requests -= 1
        if not self._num_requests:
            self._unused.set()

    def abandon(self) -> None:
        """Waits for no request any more."""
        self._unused.set()

    async def wait_until_unused(self) -> None:
        """Waits for the last request; nobody may begin another."""
        await self._unused.wait()
