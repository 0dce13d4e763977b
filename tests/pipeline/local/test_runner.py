"""How failures are explained; whole runs are in tests/e2e."""

import pytest

from components.example_gen.sources import DataError
from pipeline.local.runner import StepFailedError, explain_failure, is_interrupt


@pytest.mark.parametrize(
    "error",
    [
        DataError("mnist.npz, record 3", "label 10", "0 to 9"),
        DataError("mnist.npz, record 3 [while running 'Read']: found label 10, expected 0 to 9"),
        RuntimeError(
            "Traceback (most recent call last):\n  File ...\ncomponents.example_gen.sources.errors.DataError: "
            "mnist.npz, record 3: found label 10, expected 0 to 9 [while running 'Read-ptransform-12']\n\nmore"
        ),
    ],
)
def test_a_mistake_in_the_data_is_found_in_what_beam_makes_of_it(error: Exception) -> None:
    explained = explain_failure(error, "MnistExampleGen")
    assert isinstance(explained, DataError)
    assert str(explained) == "mnist.npz, record 3: found label 10, expected 0 to 9"


def test_any_other_failure_names_the_step() -> None:
    explained = explain_failure(ValueError("first line\nthe reason"), "Trainer")
    assert isinstance(explained, StepFailedError)
    assert str(explained) == "Trainer failed: ValueError: the reason"
    assert str(explain_failure(MemoryError(), None)) == "The pipeline failed: MemoryError"


@pytest.mark.parametrize(
    ("error", "interrupt"),
    [
        (KeyboardInterrupt(), True),
        (RuntimeError("Traceback (most recent call last):\n  File ...\nKeyboardInterrupt\n"), True),
        (RuntimeError("no KeyboardInterrupt here"), False),
    ],
)
def test_an_interrupt_is_known_also_as_what_beam_makes_of_it(error: BaseException, interrupt: bool) -> None:
    assert is_interrupt(error) is interrupt
