"""The rows of a bulk prediction: how they are written, counted and watched."""

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from serving.client.answers import Result

PART_PATTERN = "part-*.csv"

_COLUMNS = ("source", "index", "digit", "confidence", "status", "error")
_ERROR_COLUMN = _COLUMNS.index("error")
_NUM_DIGITS = 10
_WATCH_SECONDS = 0.5


def header(with_probabilities: bool) -> str:
    """Returns the first line of the file."""
    probabilities = tuple(f"p{digit}" for digit in range(_NUM_DIGITS)) if with_probabilities else ()
    return ",".join((*_COLUMNS, *probabilities)) + "\n"


def write_rows(results: Iterable[Result], file: Path, *, with_probabilities: bool) -> None:
    """Writes a row per result, without a header.

    Args:
        results: Written one by one as they come.
        file: Where to.
        with_probabilities: Whether all ten probabilities are written.
    """
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for result in results:
            writer.writerow(_row(result, with_probabilities))


def count_results(file: Path) -> tuple[int, int]:
    """Counts the rows below the header.

    Returns:
        How many there are, and how many of them hold an error.
    """
    num_rows = num_errors = 0
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = csv.reader(stream)
        next(rows)
        for row in rows:
            num_rows += 1
            num_errors += bool(row[_ERROR_COLUMN])
    return num_rows, num_errors


@contextmanager
def watched(folder: Path, on_progress: Callable[[int], None]) -> Iterator[None]:
    """Reports the number of rows in the parts of a folder, whichever process writes them.

    Args:
        folder: Where the parts are.
        on_progress: Called now and then, from another thread, until the block ends.
    """
    done = Event()
    thread = Thread(target=_watch, args=(folder, on_progress, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(folder: Path, on_progress: Callable[[int], None], done: Event) -> None:
    read_to: dict[Path, int] = {}
    num_rows = 0
    while not done.wait(_WATCH_SECONDS):
        for part in folder.glob(PART_PATTERN):
            with part.open("rb") as stream:
                stream.seek(read_to.get(part, 0))
                # Only what has come since is read.
                for block in iter(lambda: stream.read(1 << 20), b""):
                    num_rows += block.count(b"\n")
                read_to[part] = stream.tell()
        on_progress(num_rows)


def _row(result: Result, with_probabilities: bool) -> list[object]:
    answer = result.answer
    place = [result.item.source, result.item.index]
    if answer is None:
        return [*place, "", "", "", result.error, *([""] * _NUM_DIGITS if with_probabilities else [])]
    probabilities = [f"{value:.6f}" for value in answer.probabilities] if with_probabilities else []
    return [*place, answer.digit, f"{answer.confidence:.6f}", answer.status, "", *probabilities]
