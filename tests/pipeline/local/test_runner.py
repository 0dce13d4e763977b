"""Outcomes, failures and step reports; whole runs are in tests/e2e."""

import logging
import os
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from components.example_gen.sources.errors import DataError
from components.progress import log_num_records, log_progress
from components.verdict import Finding, Verdict
from pipeline.local.display import RunDisplay
from pipeline.local.metadata import MetadataError, Run, Step, StepState, list_runs
from pipeline.local.runner import (
    StepFailedError,
    StepObserver,
    explain_failure,
    is_interrupt,
    run_outcome,
    run_pipeline,
)
from pipeline.settings.settings import Settings, load_settings
from pipeline.settings.tuned import write_tuned
from registry.errors import ExpectedError


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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("the reason\nmore about it", "the reason", id="several lines"),
        pytest.param(
            "Exception encountered when calling Sequential.call().\n\n\x1b[1mInput 0 of layer 'dense' is incompatible "
            "with the layer\x1b[0m\n\nArguments received by Sequential.call():\n  • inputs=tf.Tensor(shape=(2, 27))\n"
            "  • mask=None",
            "Input 0 of layer 'dense' is incompatible with the layer",
            id="Keras",
        ),
        pytest.param(
            "Exception encountered when calling L.call().\n\nCould not infer the output shape. Error encountered:\n\n"
            "Dimensions must be equal, but are 28 and 3.\n\nArguments received by L.call():\n  • kwargs=None",
            "Could not infer the output shape. Error encountered: Dimensions must be equal, but are 28 and 3.",
            id="Keras, with a cause",
        ),
        pytest.param(
            "Graph execution error:\n\nDetected at node loss/Softmax defined at (most recent call last):\n"
            '  File "trainer.py", line 399, in fit\n\n  File "loss.py", line 67, in __call__\n\n'
            "Received a label value of 77 which is outside the valid range of [0, 10).\n"
            "\t [[{{node loss/Softmax}}]] [Op:__inference_1]",
            "Received a label value of 77 which is outside the valid range of [0, 10).",
            id="TensorFlow in a graph",
        ),
        pytest.param(
            "{{function_node __wrapped__DecodeImage_device_/job}} Unknown image file format. [Op:DecodeImage]",
            "Unknown image file format.",
            id="TensorFlow",
        ),
        pytest.param(
            'in user code:\n\n    File "model.py", line 25, in g  *\n        return tf.reshape(x, [5])\n\n'
            "    ValueError: Cannot reshape a tensor with 2 elements to shape [5]\n",
            "ValueError: Cannot reshape a tensor with 2 elements to shape [5]",
            id="TensorFlow while tracing",
        ),
        pytest.param(
            'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\nKeyError: 1\n\nDuring '
            "handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n"
            '  File "b.py", line 7, in process\n'
            "ValueError: invalid literal 'abc' [while running 'Read-ptransform-12']\n\nmore of Beam",
            "ValueError: invalid literal 'abc'",
            id="Beam",
        ),
        pytest.param("Traceback (most recent call last):\n  lost", "lost", id="a traceback without an exception"),
        pytest.param("  only indented", "only indented", id="indented"),
    ],
)
def test_a_failure_names_the_step_and_the_reason(text: str, reason: str) -> None:
    explained = explain_failure(RuntimeError(text), "Trainer")
    assert isinstance(explained, StepFailedError)
    assert str(explained) == f"Trainer failed: RuntimeError: {reason}"
    lost = ExpectedError("Split-test/a.gz: missing; run again.")
    assert str(explain_failure(lost, "Trainer")) == "Trainer failed: Split-test/a.gz: missing; run again."
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
    steps = (Step("Pusher", pusher, 0.1, execution_id=1),) if pusher else ()
    run = Run("now", "digits", datetime(2026, 1, 2), 1.0, steps, "unfinished", None, version)
    assert run_outcome(run, verdicts) == outcome


@pytest.mark.parametrize(("verdict", "outcome"), [(GOOD, "tuned"), (BAD, "refused")])
def test_outcome_of_a_search(verdict: Verdict, outcome: str) -> None:
    run = Run(
        "now",
        "digits",
        datetime(2026, 1, 2),
        1.0,
        (Step("Tuner", "ran", 0.1, execution_id=1),),
        "unfinished",
        None,
        None,
    )
    assert run_outcome(run, [verdict]) == outcome


class Recorder:
    """A display that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def step_started(self, name: str) -> None:
        self.calls.append(("started", name))

    def step_ended(self, name: str, state: str, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append(("ended", name, state))

    def progressed(self, text: str, *, transient: bool, progress: float | None = None) -> None:
        self.calls.append(("progressed", text, transient, progress))

    def records_processed(self, count: int) -> None:
        self.calls.append(("processed", count))

    def steps_planned(self, names: list[str]) -> None:
        self.calls.append(("planned", names[0], names[-1]))


@pytest.mark.slow
def test_a_step_whose_inputs_cannot_be_resolved_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TFX's launcher logs such an error, records the step as failed, and goes on with the next one."""
    from tfx.orchestration.portable import inputs_utils
    from tfx.orchestration.portable.input_resolution.exceptions import InputResolutionError

    resolve = inputs_utils.resolve_input_artifacts

    def fail_to_resolve(*, pipeline_node: Any, metadata_handle: Any) -> Any:
        if pipeline_node.node_info.id == "StatisticsGen":
            raise InputResolutionError("there are no examples")
        return resolve(pipeline_node=pipeline_node, metadata_handle=metadata_handle)

    monkeypatch.setattr(inputs_utils, "resolve_input_artifacts", fail_to_resolve)
    options = {"workspace": str(tmp_path), "profile": "smoke"}
    trials = [{"trial": 0, "eval_loss": 0.5, "eval_accuracy": 0.9, "width": 32}]
    write_tuned(load_settings(options, file=Path(os.devnull)), trials)
    settings = load_settings({**options, "tuned": "true"}, file=Path(os.devnull))
    recorder = Recorder()
    with pytest.raises(StepFailedError, match="^StatisticsGen failed: there are no examples$"):
        run_pipeline(settings, cast(RunDisplay, recorder))
    assert ("planned", "ImportSchemaGen", "RunReport") in recorder.calls
    assert ("ended", "MnistExampleGen", "ran") in recorder.calls
    assert ("ended", "StatisticsGen", "failed") in recorder.calls
    assert ("ended", "Trainer", "ran") not in recorder.calls
    [run] = list_runs(settings.metadata_file)
    assert (run.outcome, run.reason) == ("failed", "StatisticsGen failed: there are no examples")
    assert (run.is_search, run.trials) == (False, trials)


class SaboteurOfAShard(Recorder):
    """Removes a shard at the start of the second step after its own, and stops the run before Transform."""

    def __init__(self, pipeline_root: Path) -> None:
        super().__init__()
        self.shards = (pipeline_root / "MnistExampleGen").glob("examples/*/Split-train/*.gz")
        self.removed: Path | None = None

    def step_started(self, name: str) -> None:
        super().step_started(name)
        if name == "ExampleValidator" and not self.removed:
            self.removed = next(self.shards)
            self.removed.unlink()
        if name == "Transform":
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_shard_that_disappears_during_a_run_ends_it_and_is_made_again(tmp_path: Path) -> None:
    settings = load_settings({"workspace": str(tmp_path), "profile": "smoke"}, file=Path(os.devnull))
    saboteur = SaboteurOfAShard(settings.pipeline_root)
    with pytest.raises(StepFailedError) as raised:
        run_pipeline(settings, cast(RunDisplay, saboteur))
    lost = saboteur.removed
    assert lost
    assert str(raised.value) == (
        f"ExampleValidator failed: {lost} is missing, or has changed since its step wrote it; run again, and that step "
        "runs again."
    )
    with pytest.raises(StepFailedError, match="^Stopped in Transform"):
        run_pipeline(settings, cast(RunDisplay, saboteur))
    assert ("progressed", f"{lost} is missing or has changed; its step runs again", False, None) in saboteur.calls
    ended = [call[1:] for call in saboteur.calls if call[0] == "ended"]
    assert ended.count(("MnistExampleGen", "ran")) == ended.count(("StatisticsGen", "ran")) == 2
    assert ("ImportSchemaGen", "cached") in ended


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A run with them ends when it looks for its data."""
    values = {"workspace": str(tmp_path), "data": {"uri": str(tmp_path / "none.npz")}}
    return load_settings(values, file=Path(os.devnull))


def test_artifacts_without_records_are_moved_aside(settings: Settings) -> None:
    (settings.pipeline_root / "Trainer").mkdir(parents=True)
    recorder = Recorder()
    with pytest.raises(DataError, match="none.npz"):
        run_pipeline(settings, cast(RunDisplay, recorder))
    [moved] = settings.workspace.glob("pipeline_root*/Trainer")
    assert moved.parent != settings.pipeline_root
    text = f"metadata.sqlite has no record of the old artifacts; moved to {moved.parent}"
    assert recorder.calls[0] == ("progressed", text, False, None)


def test_a_damaged_database_ends_a_run_before_anything_else(settings: Settings) -> None:
    settings.metadata_file.write_text("no database")
    settings.pipeline_root.mkdir()
    recorder = Recorder()
    with pytest.raises(MetadataError, match="move it away and run again"):
        run_pipeline(settings, cast(RunDisplay, recorder))
    assert recorder.calls == []
    assert settings.pipeline_root.exists()


def test_the_log_of_the_launcher_becomes_steps() -> None:
    recorder = Recorder()
    observer = StepObserver(cast(RunDisplay, recorder))
    tfx, steps = logging.getLogger("absl"), logging.getLogger("components.trainer.training")
    steps_between: list[tuple[str | None, bool]] = []
    with observer.observing(lambda has_run: steps_between.append((observer.current_step, has_run))):
        tfx.info("Component %s is running.", "Trainer")
        log_progress(steps, logging.DEBUG, "epoch 1/2: loss", 0.25)
        steps.info("calibrated")
        log_num_records(steps, 70_000)
        assert observer.current_step == "Trainer"
        tfx.info("Component %s is finished.", "Trainer")
        tfx.info("Component %s is running.", "Pusher")
        tfx.info("A cached execution %d is used.", 3)
        tfx.info("Component %s is finished.", "Pusher")
        tfx.info("Component %s is running.", "Evaluator")
        tfx.info("Skipping execution for %s", "Evaluator")
        tfx.info("Component %s is finished.", "Evaluator")
        tfx.info("Component %s is running.", "BulkInferrer")
        tfx.error("[%s] Input resolution error: %s", "BulkInferrer", "no model")
        tfx.info("Component %s is finished.", "BulkInferrer")
    assert observer.failures == {"BulkInferrer": "no model"}
    tfx.info("Component %s is running.", "AfterTheRun")
    names = ("Trainer", "Pusher", "Evaluator", "BulkInferrer")
    assert steps_between == [(name, has_run) for name in names for has_run in (False, name == "Trainer")]
    assert recorder.calls == [
        ("started", "Trainer"),
        ("progressed", "epoch 1/2: loss", True, 0.25),
        ("progressed", "calibrated", False, None),
        ("processed", 70_000),
        ("ended", "Trainer", "ran"),
        ("started", "Pusher"),
        ("ended", "Pusher", "cached"),
        ("started", "Evaluator"),
        ("ended", "Evaluator", "not run"),
        ("started", "BulkInferrer"),
        ("ended", "BulkInferrer", "failed"),
    ]
