from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from components.serving_check.exchange import Kind, Plan, Request
from components.serving_check.probe_process import last_words, run_probe


def plan(export: Path) -> Plan:
    return Plan(str(export), ("MatMul",), (Request("pixels", Kind.GOOD, "image", np.zeros((1, 28, 28), np.float32)),))


def test_it_runs_wherever_it_is_started(good_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "__init__.py").write_text("raise ImportError('not ours')")
    monkeypatch.chdir(tmp_path)
    report = run_probe(plan(good_export), 120, tmp_path / "log")
    assert (report.failure, report.ended) == ("", True)
    assert [answer.outputs["probabilities"].shape for answer in report.answers] == [(1, 10)]


def test_a_process_that_takes_too_long_is_killed(good_export: Path, tmp_path: Path) -> None:
    report = run_probe(plan(good_export), 0.1, tmp_path / "log")
    assert (report.failure, report.doing, report.ended) == ("it had not ended after 0.1 s", "starting", False)


def test_an_export_may_end_the_process_without_an_error(
    tiny_model: Any, save_export: Callable[[Any], Path], tmp_path: Path
) -> None:
    class Ending(tiny_model):
        def from_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([tf.raw_ops.Abort(exit_without_error=True)]):
                return super().from_pixels(tf.identity(image))

    report = run_probe(plan(save_export(Ending())), 120, tmp_path / "log")
    assert report.failure == "it ended before it was done"
    assert (report.doing, report.doing_on) == ("good request", "pixels")


def test_an_export_that_kills_only_python(
    tiny_model: Any, save_export: Callable[[Any], Path], edit_export: Any, tmp_path: Path
) -> None:
    class Ink(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self) -> tf.Tensor:
            return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[])

        def _initialize(self) -> None:
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="out of ink")]):
                tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=tf.constant(0.0))

    class Deadly(tiny_model):
        def __init__(self) -> None:
            super().__init__()
            self.ink = Ink()

    def edit(graph: MetaGraphDef) -> None:
        # Python initializes resources itself; the session runs what these entries name.
        del graph.signature_def["__saved_model_init_op"]
        graph.collection_def.clear()

    report = run_probe(plan(edit_export(save_export(Deadly()), edit)), 120, tmp_path / "log")
    assert report.failure == "it was ended by SIGABRT: Abort_op intentional failure; out of ink"
    assert (report.doing, report.doing_on, len(report.answers)) == ("Python loader", "", 1)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("Traceback (most recent call last):\n  File x\nImportError: no module\n\n", "ImportError: no module"),
        (
            "W0000 00:00:17 1 port.cc:1] noise\nF0000 00:00:17.57 12 ops.cc:737] Abort; boom\n"
            "*** Check failure stack trace: ***\n    @     0x7fa  tensorflow::AbortOp::Compute()\n",
            "Abort; boom",
        ),
        ("WARNING: All log messages before absl::InitializeLog() is called\nI0000 00:00:17 1 port.cc:1] oneDNN\n", ""),
    ],
)
def test_last_words(log: str, words: str) -> None:
    assert last_words(log) == words
