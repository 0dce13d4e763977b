"""Limits the bytes of all requests in progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from serving.server.interface import exhausted

SetSize: TypeAlias = Callable[[int], None]
"""Sets the number of bytes that a request takes; raises ServingError, RESOURCE_EXHAUSTED, if there are not enough."""


class ByteBudget:
    """The bytes of all requests in progress, over both APIs. All methods run in the event loop.

    Args:
        limit: Maximum number of bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    @contextmanager
    def request(self) -> Iterator[SetSize]:
        """Yields the function for a request, which takes no bytes yet, nor after the `with` statement."""
        size = 0

        def set_size(num_bytes: int) -> None:
            nonlocal size
            if num_bytes - size > self._limit - self._used:
                used = f"{self._used:,} of {self._limit:,} bytes"
                raise exhausted(f"The requests in progress take {used}, too many to read this one; try again later.")
            self._used += num_bytes - size
            size = num_bytes

        try:
            yield set_size
        finally:
            self._used -= size
