"""What a listener hears and how failures are explained; whole runs are in tests/e2e."""

import logging
from pathlib import Path

import pytest
from tfx.proto.orchestration.pipeline_pb2 import Pipeline as CompiledPipeline

from components.example_gen.sources import DataError
from pipeline.local_runner import StepFailedError, _explain, _StepObserver, distrust_cache
from pipeline.settings import load_settings


class Recorder:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def step_started(self, name: str) -> None:
        self.heard.append(("started", name))

    def step_finished(self, name: str, seconds: float, *, cached: bool) -> None:
        assert seconds >= 0
        self.heard.append(("finished", name, cached))

    def progressed(self, text: str, *, passing: bool) -> None:
        self.heard.append(("progressed", text, passing))


def test_the_launchers_log_becomes_steps() -> None:
    recorder = Recorder()
    observer = _StepObserver(recorder)
    tfx, ours = logging.getLogger("absl"), logging.getLogger("components.trainer.progress")
    with observer.observing():
        tfx.info("Component %s is running.", "Trainer")
        ours.debug("epoch 1/2, 50 %")
        ours.info("epoch 1/2: loss")
        assert observer.current_step == "Trainer"
        tfx.info("Component %s is finished.", "Trainer")
        tfx.info("Component %s is running.", "Pusher")
        tfx.info("A cached execution %d is used.", 3)
        tfx.info("Component %s is finished.", "Pusher")
    tfx.info("Component %s is running.", "AfterTheRun")
    assert recorder.heard == [
        ("started", "Trainer"),
        ("progressed", "epoch 1/2, 50 %", True),
        ("progressed", "epoch 1/2: loss", False),
        ("finished", "Trainer", False),
        ("started", "Pusher"),
        ("finished", "Pusher", True),
    ]


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
    explained = _explain(error, "MnistExampleGen")
    assert isinstance(explained, DataError)
    assert str(explained) == "mnist.npz, record 3: found label 10, expected 0 to 9"


def test_any_other_failure_names_the_step() -> None:
    explained = _explain(ValueError("first line\nthe reason"), "Trainer")
    assert isinstance(explained, StepFailedError)
    assert str(explained) == "Trainer failed: the reason"
    assert str(_explain(MemoryError(), None)) == "The pipeline failed: MemoryError"


@pytest.mark.parametrize(
    ("files", "trusted"),
    [
        (("pipeline_root/Trainer/model", "serving/digits/17/saved_model.pb"), {"Trainer", "Pusher"}),
        (("pipeline_root/Trainer/model", "serving/digits/18/variables"), {"Trainer"}),
        (("pipeline_root/Trainer/model",), {"Trainer"}),
        (("serving/digits/17/saved_model.pb",), set()),
    ],
)
def test_results_that_somebody_deleted_are_made_again(
    tmp_path: Path, files: tuple[str, ...], trusted: set[str]
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    compiled = CompiledPipeline()
    for name in ("Trainer", "Pusher"):
        step = compiled.nodes.add().pipeline_node
        step.node_info.id = name
        step.execution_options.caching_options.enable_cache = True
    distrust_cache(compiled, load_settings({"workspace": str(tmp_path)}))
    steps = [node.pipeline_node for node in compiled.nodes]
    assert {step.node_info.id for step in steps if step.execution_options.caching_options.enable_cache} == trusted
