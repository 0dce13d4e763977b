"""What a failed step of Kubeflow Pipelines says last: one line for the person who looks at the pod's log."""

import errno
import os
from collections.abc import Iterator

IMAGE_ADVICE = "build it from the code with which the pipeline was compiled, or name the right one, parameter `image`"

_ADVICE = {
    errno.ENOSPC: "ask for more ephemeral storage for this step, or free some on the volume",
    errno.EDQUOT: "raise the quota of the volume, or free some of it",
    errno.EROFS: "mount a volume there that can be written to",
    errno.EACCES: "let the user that the pod runs as read and write there",
    errno.EPERM: "let the user that the pod runs as read and write there",
}
_TOLD_BY_TEXT_ALONE = (errno.ENOSPC, errno.EROFS)
"""What TensorFlow and Beam turn into errors of their own, which keep the system's words, and nobody else uses."""


class KubeflowStepError(RuntimeError):
    """A step cannot run here; the message says what is wrong, where, and what to do."""


def explain(error: BaseException, step: str) -> str | None:
    """Finds the words for trouble that was to be foreseen.

    Args:
        error: What ended the step.
        step: Its name.

    Returns:
        A line without a line break, or None for what is a bug of ours.
    """
    # Only failures pay for these imports.
    from components.example_gen.sources import DataError
    from pipeline.local.runner import explain_failure
    from registry.provenance import DamagedVersionError
    from registry.publishing import PublishingError

    if isinstance(error, KubeflowStepError | PublishingError | DamagedVersionError):
        return one_line(str(error))
    explained = explain_failure(error, step)
    if isinstance(explained, DataError):
        return one_line(str(explained))
    if isinstance(error, ModuleNotFoundError):
        return f"{step}: this image lacks a module ({error}); {IMAGE_ADVICE}."
    for cause in _causes(error):
        if line := _refused_by_system(cause):
            return f"{step}: {one_line(line)}"
    return None


def one_line(text: str) -> str:
    """Returns a text with all runs of white space, also line breaks, made one space."""
    return " ".join(text.split())


def describe_bug(error: BaseException) -> str:
    """Returns the type and the last line of an error that nobody foresaw."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[-1:]])


def _refused_by_system(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _ADVICE:
        return f"{error.filename or 'a file'}: {error.strerror}; {_ADVICE[error.errno]}."
    text = str(error)
    for number in _TOLD_BY_TEXT_ALONE:
        if os.strerror(number) in text:
            [line, *_] = [line for line in text.splitlines() if os.strerror(number) in line]
            return f"{line}; {_ADVICE[number]}."
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
