from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from pipeline.local.memory import PeakMemory, sampled_memory


class FakeProcess:
    """A process with a size, or None if it has ended."""

    def __init__(self, size: int | None, *children: "FakeProcess") -> None:
        self.size = size
        self.found = list(children)
        self.num_searches = 0

    def memory_info(self) -> SimpleNamespace:
        if self.size is None:
            raise psutil.NoSuchProcess(1)
        return SimpleNamespace(rss=self.size)

    def children(self, recursive: bool) -> list["FakeProcess"]:
        assert recursive
        self.num_searches += 1
        return self.found


@pytest.fixture
def child() -> FakeProcess:
    return FakeProcess(10)


@pytest.fixture
def root(child: FakeProcess) -> FakeProcess:
    return FakeProcess(100, child)


@pytest.fixture
def memory(root: FakeProcess) -> PeakMemory:
    return PeakMemory(cast(psutil.Process, root))


def test_the_peak_is_the_highest_sum_since_it_was_taken(
    memory: PeakMemory, root: FakeProcess, child: FakeProcess
) -> None:
    for sizes in ((100, 10), (300, 20), (50, 200)):
        root.size, child.size = sizes
        memory.sample()
    assert memory.take() == 320
    assert memory.take() == 250, "at least what it is now"


def test_a_child_that_has_ended_does_not_count(memory: PeakMemory, child: FakeProcess) -> None:
    assert memory.take() == 110
    child.size = None
    assert memory.take() == 100


def test_children_are_searched_for_in_every_tenth_sample(memory: PeakMemory, root: FakeProcess) -> None:
    memory.sample()
    root.found = [FakeProcess(1000)]
    for _ in range(9):
        memory.sample()
    assert (memory.take(), root.num_searches) == (1100, 2)


def test_memory_of_this_process_that_was_freed_is_seen() -> None:
    size = 200_000_000
    with sampled_memory() as memory:
        before = memory.take()
        block = b"x" * size
        memory.sample()
        del block
        assert before + 0.9 * size < memory.take() < before + 1.5 * size
