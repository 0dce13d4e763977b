import errno
import os

import pytest

from components.example_gen.sources import DataError
from pipeline.kubeflow.step.failure import KubeflowStepError, describe_bug, explain
from registry.provenance import DamagedVersionError
from registry.publishing import PublishingError


@pytest.mark.parametrize("kind", [KubeflowStepError, PublishingError, DamagedVersionError])
def test_our_own_errors_say_it_themselves(kind: type[Exception]) -> None:
    assert explain(kind("the file\n  is damaged."), "Pusher") == "the file is damaged."


def test_a_mistake_in_the_data_is_found_behind_what_beam_makes_of_it() -> None:
    error = DataError("/data", "a text", "an image", "remove it")
    text = f"Traceback (most recent call last):\n  ...\nDataError: {error} [while running 'Read']\n"
    assert explain(error, "MnistExampleGen") == explain(RuntimeError(text), "MnistExampleGen") == str(error)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "ask for more ephemeral storage for this step, or free some on the volume"),
        (errno.EDQUOT, "raise the quota of the volume, or free some of it"),
        (errno.EROFS, "mount a volume there that can be written to"),
        (errno.EACCES, "let the user that the pod runs as read and write there"),
    ],
)
def test_what_the_system_refuses(number: int, advice: str) -> None:
    error = OSError(number, os.strerror(number), "/minio/model")
    assert explain(error, "Trainer") == f"Trainer: /minio/model: {os.strerror(number)}; {advice}."


def test_what_the_system_refuses_is_found_behind_other_errors() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    advice = "ask for more ephemeral storage for this step, or free some on the volume."
    consequence = RuntimeError("cannot save")
    consequence.__cause__ = full
    assert explain(consequence, "Trainer") == f"Trainer: a file: No space left on device; {advice}"
    # TensorFlow's and Beam's errors hold the system's words alone.
    text = (
        "Traceback (most recent call last):\nResourceExhaustedError: /minio/model; No space left on device [Op:SaveV2]"
    )
    assert explain(RuntimeError(text), "Trainer") == (
        "Trainer: ResourceExhaustedError: /minio/model; No space left on device [Op:SaveV2]; " + advice
    )


def test_a_module_that_the_image_lacks_is_named() -> None:
    assert explain(ModuleNotFoundError("No module named 'components.trainer'"), "Trainer") == (
        "Trainer: this image lacks a module (No module named 'components.trainer'); build it from the code with which "
        "the pipeline was compiled, or name the right one, parameter `image`."
    )


def test_what_nobody_foresaw_is_a_bug() -> None:
    error = ValueError("first line\nsecond line")
    assert explain(error, "Trainer") is None
    assert explain(OSError(errno.ENOENT, "No such file or directory", "/model"), "Trainer") is None
    assert describe_bug(error) == "ValueError: second line"
