"""Errors whose message tells the user all they need: commands print it and exit without a traceback."""


class ExpectedError(RuntimeError):
    """An expected failure; a command exits with `exit_code`."""

    exit_code = 1


class UsageError(ExpectedError):
    """A setting, an option or a request is not valid."""

    exit_code = 2
