"""The one error for unusable data, so that every message names the place, the problem and the fix."""

from registry.errors import ExpectedError

_MAX_LENGTH = 160


class DataError(ExpectedError):
    """Unusable data, described in one line for the user who provided it.

    The parts are the arguments of the exception, so that it survives pickling between processes.

    Attributes:
        where: File and, if known, record or row and field. Without `found`, the whole message, as another process
            passed it on.
        found: What the file has there.
        expected: What it should have there.
        fix: What the user can do, unless that follows from `expected`.
    """

    def __init__(self, where: str, found: str = "", expected: str = "", fix: str = "") -> None:
        super().__init__(where, found, expected, fix)
        self.where, self.found, self.expected, self.fix = where, found, expected, fix

    def __str__(self) -> str:
        fix = f"; {self.fix}" if self.fix else ""
        message = f"{self.where}: found {self.found}, expected {self.expected}{fix}" if self.found else self.where
        # File names and errors of drivers may contain line breaks.
        return " ".join(message.split()).replace("file:///", "/")


def corrupt(where: str, found: str, expected: str) -> DataError:
    """Returns the error of a damaged or incomplete file."""
    return DataError(where, found, expected, "download or copy it again")


def quoted(value: str | bytes) -> str:
    """Quotes content of a file, shortened to keep the message readable."""
    text = repr(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."


def listed(names: list[str]) -> str:
    """Lists the first ten names."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(name) for name in names[:10]) + more if names else "nothing"
