"""Limits the bytes of all requests in progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from serving.server.interface import LARGE_REQUEST_BYTES, exhausted

SetSize: TypeAlias = Callable[[int, int], None]
"""Sets how many bytes of a request have arrived and are expected; raises ServingError, RESOURCE_EXHAUSTED."""


class ByteBudget:
    """Counts the bytes of all requests in progress, of both APIs. All methods run in the event loop.

    Large requests take at most half of the budget before they have arrived: slow clients cannot take all of it.

    Args:
        limit: Maximum number of bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._awaited = 0

    @contextmanager
    def request(self) -> Iterator[SetSize]:
        """Yields the function for a request, which takes no bytes yet, nor after the `with` statement."""
        size = awaited = 0

        def set_size(arrived: int, expected: int) -> None:
            nonlocal size, awaited
            more, still_awaited = max(arrived, expected) - size, max(expected - arrived, 0)
            others = self._awaited - awaited
            is_large = still_awaited > max(awaited, LARGE_REQUEST_BYTES)
            if more > self._limit - self._used or (is_large and 0 < others > self._limit // 2 - still_awaited):
                used = f"{self._used:,} of {self._limit:,} bytes"
                raise exhausted(
                    f"The requests in progress take {used}, which leaves too few for this one; try again later."
                )
            self._used += more
            self._awaited = others + still_awaited
            size, awaited = size + more, still_awaited

        try:
            yield set_size
        finally:
            self._used -= size
            self._awaited -= awaited
