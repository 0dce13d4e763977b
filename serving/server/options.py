"""Every limit of the development server, checked before anything is loaded."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_MEBIBYTE = 1024 * 1024

LARGE_BODY_BYTES = 256 * 1024
"""Reading a larger request takes so long that it is left to a thread."""


@dataclass(frozen=True)
class ServerOptions:
    """What a server serves, and how much of it at a time.

    Attributes:
        serving_root: Folder with a sub-folder for each model, which has one for each version.
        max_batch_size: The most images in a request.
        max_body_bytes: The largest request.
        max_concurrency: How many requests are calculated at a time; one for each core by default.
        max_queue: How many more may wait for that.
        num_threads: How many threads calculate a request. One is the quickest for many clients, because each core then
            has a request of its own.
        request_timeout_seconds: When a client is told that its request takes too long.
        poll_seconds: How long to wait between looks for new versions.
        grace_seconds: How long a server that is being stopped waits for the requests that it has begun.
    """

    serving_root: Path
    max_batch_size: int = 4096
    max_body_bytes: int = 64 * _MEBIBYTE
    max_concurrency: int = field(default_factory=lambda: os.cpu_count() or 1)
    max_queue: int = 256
    num_threads: int = 1
    request_timeout_seconds: float = 30.0
    poll_seconds: float = 1.0
    grace_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Refuses what no server can keep.

        Raises:
            ValueError: A number is out of its range; the message names all that are.
        """
        if wrong := list(self._out_of_range()):
            raise ValueError("; ".join(wrong))

    def _out_of_range(self) -> Iterator[str]:
        for name in ("max_batch_size", "max_body_bytes", "max_concurrency", "num_threads"):
            if getattr(self, name) < 1:
                yield f"{name}: expected 1 or more, not {getattr(self, name)}"
        for name in ("max_queue", "grace_seconds"):
            if getattr(self, name) < 0:
                yield f"{name}: expected 0 or more, not {getattr(self, name)}"
        for name in ("request_timeout_seconds", "poll_seconds"):
            if getattr(self, name) <= 0:
                yield f"{name}: expected more than 0, not {getattr(self, name)}"
