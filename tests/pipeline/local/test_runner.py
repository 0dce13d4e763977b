"""How failures are explained and when the cache is not trusted; whole runs are in tests/e2e."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.proto.orchestration.pipeline_pb2 import Pipeline as CompiledPipeline

from components.example_gen.sources import DataError
from pipeline.local.runner import StepFailedError, distrust_cache, explain_failure, is_interrupt
from pipeline.settings.settings import load_settings


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


@pytest.fixture
def metadata_with_version_17(tmp_path: Path, add_run: Callable[..., None]) -> None:
    add_run("2026-01-02T03:04:05.000006", {"Pusher": metadata_store_pb2.Execution.COMPLETE}, version="17")
    add_run("2026-01-03T03:04:05.000006", {"Pusher": metadata_store_pb2.Execution.COMPLETE})


def trusted_steps(workspace: Path, pipeline: str = "digits") -> set[str]:
    compiled = CompiledPipeline()
    for name in ("Trainer", "Pusher"):
        step = compiled.nodes.add().pipeline_node
        step.node_info.id = name
        step.execution_options.caching_options.enable_cache = True
    distrust_cache(compiled, load_settings({"workspace": str(workspace), "name": pipeline}))
    steps = [node.pipeline_node for node in compiled.nodes]
    return {step.node_info.id for step in steps if step.execution_options.caching_options.enable_cache}


@pytest.mark.usefixtures("metadata_with_version_17")
@pytest.mark.parametrize(
    ("version", "trusted"), [("17", {"Trainer", "Pusher"}), ("16", {"Trainer"}), ("none", {"Trainer"})]
)
def test_a_pushed_version_that_somebody_deleted_is_pushed_again(
    tmp_path: Path, version: str, trusted: set[str]
) -> None:
    (tmp_path / "serving" / "digits" / version).mkdir(parents=True)
    (tmp_path / "serving" / "digits" / version / "saved_model.pb").touch()
    assert trusted_steps(tmp_path) == trusted


@pytest.mark.usefixtures("metadata_with_version_17")
def test_what_another_pipeline_pushed_does_not_count(tmp_path: Path) -> None:
    assert trusted_steps(tmp_path, pipeline="fashion") == {"Trainer", "Pusher"}


def test_where_nothing_was_pushed_the_cache_is_trusted(tmp_path: Path) -> None:
    assert trusted_steps(tmp_path) == {"Trainer", "Pusher"}


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
