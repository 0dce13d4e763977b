"""What the server holds in memory before, during and after something that costs it memory."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psutil

# An allocator may keep some of what it was given.
ALLOWED_SHARE = 0.2
ALLOWED_BYTES = 50_000_000

_SETTLE_SECONDS = 5.0
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class MemoryUse:
    """Resident memory of the server, in bytes.

    Attributes:
        event: What happened.
        before: Before it.
        peak: The most while it happened; a peak of less than 20 ms can be missed.
        after: Some seconds after it.
    """

    event: str
    before: int
    peak: int
    after: int

    @property
    def limit(self) -> int:
        """The most that may be held after it."""
        return round(self.before * (1 + ALLOWED_SHARE)) + ALLOWED_BYTES

    @property
    def has_returned(self) -> bool:
        """Whether it is."""
        return self.after <= self.limit


async def measure_memory(process: psutil.Process, event: str, happen: Callable[[], Awaitable[None]]) -> MemoryUse:
    """Measures what something costs.

    Args:
        process: The server.
        event: Name of what happens.
        happen: Makes it happen.
    """
    before = process.memory_info().rss
    samples = [before]

    async def sample() -> None:
        while True:
            samples.append(process.memory_info().rss)
            await asyncio.sleep(_SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        await happen()
    finally:
        sampling.cancel()
    await asyncio.sleep(_SETTLE_SECONDS)
    return MemoryUse(event, before, max(samples), process.memory_info().rss)
