"""Measures the peak memory of each step of a run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

_SAMPLE_SECONDS = 0.1
_SAMPLES_PER_SEARCH = 10
"""Searching for children reads every process of the machine, which takes a hundred times as long as a sample."""


class PeakMemory:
    """The highest sum of the resident memory of a process and its descendants.

    A sample misses descendants that live shorter than a second, and counts memory that processes share once for each.
    """

    def __init__(self, root: psutil.Process) -> None:
        """Measures `root`."""
        self._root = root
        self._processes = [root]
        self._num_samples = 0
        self._peak_bytes = 0
        self._lock = threading.Lock()

    def sample(self) -> None:
        """Measures once."""
        with self._lock:
            if self._num_samples % _SAMPLES_PER_SEARCH == 0:
                self._processes = [self._root, *self._root.children(recursive=True)]
            self._num_samples += 1
            self._peak_bytes = max(self._peak_bytes, sum(map(_resident_bytes, self._processes)))

    def take(self) -> int:
        """Returns the peak since the last call, in bytes."""
        self.sample()
        with self._lock:
            peak_bytes, self._peak_bytes = self._peak_bytes, 0
        return peak_bytes


@contextmanager
def sampled_memory() -> Iterator[PeakMemory]:
    """Samples the memory of this process in the body of the `with` statement, about ten times a second."""
    memory, ended = PeakMemory(psutil.Process()), threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            memory.sample()

    thread = threading.Thread(target=sample, name="memory samples")
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def _resident_bytes(process: psutil.Process) -> int:
    # A process may end after it was found.
    with suppress(psutil.NoSuchProcess):
        size: int = process.memory_info().rss
        return size
    return 0
