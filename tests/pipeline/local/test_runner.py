"""Outcomes, failures and step reports; whole runs are in tests/e2e."""

import logging
from datetime import datetime
from typing import cast

import pytest

from components.example_gen.sources.errors import DataError
from components.verdict import Finding, Verdict
from pipeline.local.display import RunDisplay
from pipeline.local.metadata import Run, Step, StepState
from pipeline.local.runner import (
    StepFailedError,
    StepObserver,
    explain_failure,
    is_interrupt,
    run_outcome,
)


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
def test_a_data_error_is_found_inside_a_beam_error(error: Exception) -> None:
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
def test_an_interrupt_is_recognized_even_inside_a_beam_error(error: BaseException, interrupt: bool) -> None:
    assert is_interrupt(error) is interrupt


GOOD = Verdict("Evaluator", (Finding("accuracy", "all", passed=True, value=0.99),), advice="")
BAD = Verdict("ServingCheck", (Finding("core ops", "export", passed=False),), advice="")


@pytest.mark.parametrize(
    ("version", "pusher", "verdicts", "outcome"),
    [
        pytest.param(17, "ran", [GOOD], "pushed", id="pushed"),
        pytest.param(17, "cached", [GOOD], "unchanged", id="pushed earlier"),
        pytest.param(None, "ran", [GOOD, BAD], "refused", id="a gate refused"),
        pytest.param(None, "cached", [GOOD, BAD], "refused", id="a gate refused earlier"),
        pytest.param(None, None, [BAD], "refused", id="Pusher did not run"),
        pytest.param(None, "ran", [GOOD], "refused", id="refused without a verdict"),
    ],
)
def test_outcome_of_a_run(version: int | None, pusher: StepState | None, verdicts: list[Verdict], outcome: str) -> None:
    steps = (Step("Pusher", pusher, 0.1),) if pusher else ()
    run = Run("now", "digits", datetime(2026, 1, 2), 1.0, steps, "unfinished", None, version)
    assert run_outcome(run, verdicts) == outcome


class Recorder:
    """A display that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def step_started(self, name: str) -> None:
        self.calls.append(("started", name))

    def step_ended(self, name: str, state: str, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append(("ended", name, state))

    def progressed(self, text: str, *, transient: bool) -> None:
        self.calls.append(("progressed", text, transient))


def test_the_log_of_the_launcher_becomes_steps() -> None:
    recorder = Recorder()
    observer = StepObserver(cast(RunDisplay, recorder))
    tfx, steps = logging.getLogger("absl"), logging.getLogger("components.trainer.training")
    with observer.observing():
        tfx.info("Component %s is running.", "Trainer")
        steps.debug("epoch 1/2, 50 %")
        steps.info("epoch 1/2: loss")
        assert observer.current_step == "Trainer"
        tfx.info("Component %s is finished.", "Trainer")
        tfx.info("Component %s is running.", "Pusher")
        tfx.info("A cached execution %d is used.", 3)
        tfx.info("Component %s is finished.", "Pusher")
        tfx.info("Component %s is running.", "Evaluator")
        tfx.info("Skipping execution for %s", "Evaluator")
        tfx.info("Component %s is finished.", "Evaluator")
    tfx.info("Component %s is running.", "AfterTheRun")
    assert recorder.calls == [
        ("started", "Trainer"),
        ("progressed", "epoch 1/2, 50 %", True),
        ("progressed", "epoch 1/2: loss", False),
        ("ended", "Trainer", "ran"),
        ("started", "Pusher"),
        ("ended", "Pusher", "cached"),
        ("started", "Evaluator"),
    ]
