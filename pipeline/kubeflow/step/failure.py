"""Explains why a step failed, in one line at the end of its pod's log."""

import errno
import os

from registry.errors import ExpectedError

IMAGE_ADVICE = (
    "build the image from the code that the pipeline was compiled with, or start the run with the parameter `image`"
)

_ADVICE = {
    errno.ENOSPC: "request more ephemeral storage for this step, or free some on the volume",
    errno.EDQUOT: "raise the quota of the volume, or free some of it",
    errno.EROFS: "mount a writable volume there",
    errno.EACCES: "let the user of the pod read and write there",
    errno.EPERM: "let the user of the pod read and write there",
}
_RECOGNIZED_BY_TEXT = (errno.ENOSPC, errno.EROFS)
"""TensorFlow and Beam wrap these in their own errors, with the system's message in the text."""


class KubeflowStepError(ExpectedError):
    """A step cannot run in this pod; the message names the problem, the place and the fix."""


def explain(error: BaseException, step: str) -> tuple[str, bool]:
    """Explains the failure of a step.

    Returns:
        One line, and whether the failure was expected; an unexpected one is a bug and needs its traceback.
    """
    # Imported only after a failure.
    from components.example_gen.sources.errors import DataError
    from pipeline.local.runner import explain_failure

    if isinstance(error, ExpectedError):
        return _one_line(str(error)), True
    if isinstance(error, ModuleNotFoundError):
        return f"{step}: a module is not in this image ({error}); {IMAGE_ADVICE}.", True
    explained = explain_failure(error, step)
    if isinstance(explained, DataError):
        return _one_line(str(explained)), True
    cause: BaseException | None = error
    while cause is not None:
        if line := _system_error(cause):
            return f"{step}: {_one_line(line)}", True
        cause = cause.__cause__ or cause.__context__
    return str(explained), False


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _system_error(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _ADVICE:
        return f"{error.filename or 'a file'}: {error.strerror}; {_ADVICE[error.errno]}."
    for number in _RECOGNIZED_BY_TEXT:
        for line in str(error).splitlines():
            if os.strerror(number) in line:
                return f"{line}; {_ADVICE[number]}."
    return None
