"""Watches the memory of each process of a Flink cluster and of who asks it, by what the process is there for."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import psutil

from benchmarks.flink_cluster import FlinkCluster

STEPS = "steps"
WORKER_POOL = "worker pool"
WORKER = "Python worker, the largest"
LARGEST_SUM = "all together"

_SAMPLE_SECONDS = 0.5


@contextmanager
def watched_memory(steps: int, cluster: FlinkCluster | None) -> Iterator[Mapping[str, int]]:
    """Samples the memory of processes while the body of the `with` statement runs.

    Of memory that processes share, each has its part (proportional set size): workers are forked, and have all modules
    in common with their pool. Linux only.

    Args:
        steps: Process id of what runs the steps.
        cluster: The cluster that does the work, if there is one.

    Yields:
        Peaks in bytes by what the process is, complete when the body has ended.
    """
    peaks: dict[str, int] = {}
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(_SAMPLE_SECONDS):
            sizes = list(_sizes(steps, cluster))
            for name, size in [*sizes, (LARGEST_SUM, sum(size for _, size in sizes))]:
                peaks[name] = max(peaks.get(name, 0), size)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        stopped.set()
        thread.join()


def _sizes(steps: int, cluster: FlinkCluster | None) -> Iterator[tuple[str, int]]:
    for process in _tree(steps):
        yield from _size(STEPS, process)
    for name, process_id in cluster.process_ids.items() if cluster else ():
        for process in _tree(process_id):
            if name == "worker-pool":
                yield from _size(WORKER if _is_worker(process, process_id) else WORKER_POOL, process)
            elif process.pid == process_id:
                yield from _size(name.replace("-", " "), process)


def _is_worker(process: psutil.Process, pool: int) -> bool:
    try:
        # Workers are children of the process that the pool forks them from.
        return pool not in (process.pid, process.ppid())
    except psutil.NoSuchProcess:
        return True


def _tree(process_id: int) -> Iterable[psutil.Process]:
    try:
        root = psutil.Process(process_id)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _size(name: str, process: psutil.Process) -> Iterator[tuple[str, int]]:
    try:
        yield name, int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        # It ended since it was listed.
        return
