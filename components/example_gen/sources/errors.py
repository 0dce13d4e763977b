"""One kind of error for data that cannot be used, so that every message reads the same and says what to do."""

_MAX_LENGTH = 160


class DataError(ValueError):
    """Data that cannot be used, told in one line to the person who provided it.

    The parts are the arguments of the exception, so that it survives pickling between processes.

    Attributes:
        where: File, and the record, row and field where they are known; see `place`. Alone, it is the whole message:
            that of an error that another process has passed on as text.
        found: What was found there.
        expected: What was expected there.
        fix: What the person can do about it, unless that follows from what was expected.
    """

    def __init__(self, where: str, found: str = "", expected: str = "", fix: str = "") -> None:
        super().__init__(where, found, expected, fix)
        self.where, self.found, self.expected, self.fix = where, found, expected, fix

    def __str__(self) -> str:
        fix = f"; {self.fix}" if self.fix else ""
        message = f"{self.where}: found {self.found}, expected {self.expected}{fix}" if self.found else self.where
        # Names of files and errors of drivers may hold line breaks; local files are named as people name them.
        return " ".join(message.split()).replace("file:///", "/")


def truncated(where: str, found: str) -> DataError:
    """Makes the error of a file that is cut short."""
    return DataError(where, found, "a complete file", "it is cut short: download or copy it again")


def corrupt(where: str, found: str, expected: str) -> DataError:
    """Makes the error of a file whose bytes were damaged."""
    return DataError(where, found, expected, "download or copy it again")


def place(file: str, *parts: str) -> str:
    """Names a place in a file, from the outside in.

    Args:
        file: URI of the file.
        *parts: Narrower and narrower parts of it, such as a record and a field.

    Returns:
        All of them, joined with commas.
    """
    return ", ".join((file, *parts))


def numbered_record(index: int) -> str:
    """Names a record by its index, which counts from 0 in all sources."""
    return f"record {index} (counted from 0)"


def quoted(value: str | bytes) -> str:
    """Quotes what was found in a file, cut to a length that leaves a message readable."""
    text = repr(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."


def listed(names: list[str]) -> str:
    """Lists names that were found in a folder, the first ten of them."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(name) for name in names[:10]) + more if names else "nothing"
