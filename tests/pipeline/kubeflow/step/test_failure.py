import errno
import os

import pytest

from components.example_gen.sources.errors import DataError
from pipeline.kubeflow.step.failure import KubeflowStepError, explain
from registry.provenance import DamagedVersionError
from registry.publishing import PublishingError

DATA_ERROR = DataError("/data", "a text", "an image", "remove it")
DISK_FULL = "request more ephemeral storage for this step, or free some on the volume."


def caused_by(cause: Exception) -> Exception:
    error = RuntimeError("cannot save")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KubeflowStepError("the file\n  is damaged."), "the file is damaged."),
        (PublishingError("no space."), "no space."),
        (DamagedVersionError("no model."), "no model."),
        (DATA_ERROR, str(DATA_ERROR)),
        # Beam raises the text of a traceback.
        (RuntimeError(f"Traceback:\n  ...\nDataError: {DATA_ERROR} [while running 'Read']\n"), str(DATA_ERROR)),
        (
            ModuleNotFoundError("No module named 'components.trainer'"),
            "Trainer: a module is not in this image (No module named 'components.trainer'); build the image from the "
            "code that the pipeline was compiled with, or start the run with the parameter `image`.",
        ),
        (
            caused_by(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
            f"Trainer: a file: No space left on device; {DISK_FULL}",
        ),
        # The errors of TensorFlow and Beam contain the text of the system's error.
        (
            RuntimeError("Traceback:\nResourceExhaustedError: /minio; No space left on device [Op:SaveV2]"),
            f"Trainer: ResourceExhaustedError: /minio; No space left on device [Op:SaveV2]; {DISK_FULL}",
        ),
    ],
)
def test_expected_failures_are_explained_in_one_line(error: Exception, line: str) -> None:
    assert explain(error, "Trainer") == (line, True)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, DISK_FULL),
        (errno.EDQUOT, "raise the quota of the volume, or free some of it."),
        (errno.EROFS, "mount a writable volume there."),
        (errno.EACCES, "let the user of the pod read and write there."),
    ],
)
def test_errors_of_the_file_system_come_with_advice(number: int, advice: str) -> None:
    error = OSError(number, os.strerror(number), "/minio/model")
    assert explain(error, "Trainer") == (f"Trainer: /minio/model: {os.strerror(number)}; {advice}", True)


@pytest.mark.parametrize(
    "error", [ValueError("first line\nsecond line"), OSError(errno.ENOENT, "No such file or directory", "/model")]
)
def test_other_errors_are_bugs(error: Exception) -> None:
    line, expected = explain(error, "Trainer")
    assert line == f"Trainer failed: {type(error).__name__}: {str(error).splitlines()[0]}"
    assert not expected
