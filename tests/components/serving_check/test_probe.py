from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from components.serving_check.probe import (
    NUM_TIMED_REQUESTS,
    Plan,
    Report,
    foreign_ops,
    last_words,
    read_report,
    run_probe,
)
from components.serving_check.requests import Kind, Sample, build_requests
from registry.signatures import ANSWER_OUTPUTS, INPUTS
from tests.components.serving_check.tiny_model import TinyModel
from tests.support.examples import SHAPES, png

Probe = Callable[[Plan, Sample], Report]
SIGNATURES = tuple(INPUTS)


def plan(export: Path, *signatures: str, ops: tuple[str, ...] = ("MatMul",)) -> Plan:
    return Plan(str(export), ops, signatures, huge_batch=24)


def test_every_request_is_answered(probe_here: Probe, good_export: Path, sample: Sample) -> None:
    report = probe_here(plan(good_export, *SIGNATURES), sample)
    assert (report.foreign_ops, report.load_error, report.python_load_error, report.ended) == ([], "", "", True)
    sent = [request for name in SIGNATURES for request in build_requests(name, sample, 24)]
    expected = [(request.signature, request.kind, request.name) for request in sent]
    expected += [(name, Kind.PYTHON, "") for name in SIGNATURES]
    assert [(answer.signature, answer.kind, answer.name) for answer in report.answers] == expected
    for answer in report.answers:
        times = NUM_TIMED_REQUESTS if answer.kind == Kind.LATENCY else 1
        assert bool(answer.error) == (answer.kind == Kind.MALFORMED)
        assert len(answer.milliseconds) == (0 if answer.error else times)
    by_key = {(answer.signature, answer.kind, answer.name): answer for answer in report.answers}
    # Python's own check would report "Cannot feed value of shape".
    assert by_key["pixels", Kind.MALFORMED, "27 rows"].error == (
        "InvalidArgumentError: Shape of tensor _arg_pixels_image_0_0 [1,27,28] is not compatible with expected shape "
        "[?,28,28]"
    )
    served = tf.saved_model.load(str(good_export)).signatures["pixels"](
        image=tf.constant(sample.images[..., 0], tf.float32)
    )
    for kind in (Kind.GOOD, Kind.PYTHON):
        outputs = by_key["pixels", kind, ""].outputs
        np.testing.assert_allclose(outputs["probabilities"], served["probabilities"], atol=1e-6)
        assert outputs["status"].tolist() == served["status"].numpy().tolist()
        np.testing.assert_array_equal(by_key["normalize", kind, ""].outputs["image"], sample.images[..., 0])
    image_files = by_key["serving_default", Kind.SENT, ""]
    assert (list(image_files.outputs), image_files.num_images) == (["label"], 8)
    assert image_files.outputs["label"].tolist() == served["label"].numpy().tolist()


def test_only_the_outputs_of_the_contract_are_reported(
    probe_here: Probe, save_export: Callable[[Any], Path], sample: Sample
) -> None:
    class Talkative(TinyModel):
        def answer(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            return {**super().answer(pixels), "noise": tf.random.uniform([3])}

    answers = probe_here(plan(save_export(Talkative()), "pixels"), sample).answers
    assert {frozenset(answer.outputs) for answer in answers if not answer.error} == {frozenset(ANSWER_OUTPUTS)}


def test_only_a_file_that_is_refused_gets_an_error(
    probe_here: Probe, good_export: Path, make_sample: Any, images: np.ndarray
) -> None:
    sample = make_sample(images, [png(images[0]), png(images[1]), b"a text file", png(images[2])])
    answers = probe_here(plan(good_export, "serving_default"), sample).answers
    sent = [(answer.num_images, bool(answer.error)) for answer in answers if answer.kind == Kind.SENT]
    assert sent == [(1, False), (1, False), (1, True), (1, False)]


def test_color_images_are_tested(probe_here: Probe, save_export: Callable[[Any], Path]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, *SHAPES.image_shape), dtype=np.uint8)
    answers = probe_here(plan(save_export(TinyModel(SHAPES)), *SIGNATURES), Sample(images)).answers
    assert {answer.signature for answer in answers if answer.kind == Kind.PYTHON} == set(SIGNATURES)
    assert [answer.name for answer in answers if bool(answer.error) != (answer.kind == Kind.MALFORMED)] == []


def test_a_foreign_op_ends_the_test_before_loading(probe_here: Probe, sample: Sample) -> None:
    report = probe_here(plan(Path("no such folder"), ops=("Abs", "DecodeDigits")), sample)
    assert (report.foreign_ops, report.load_error, report.ended) == (["DecodeDigits"], None, True)


def test_a_load_error_is_reported(probe_here: Probe, sample: Sample, tmp_path: Path) -> None:
    report = probe_here(plan(tmp_path), sample)
    assert report.load_error is not None
    assert report.load_error.startswith("OSError: SavedModel file does not exist at")
    assert report.doing == "session-based loader"


def test_a_signature_that_fails_the_good_request_is_not_tested_further(
    probe_here: Probe, good_export: Path, edit_export: Any, sample: Sample
) -> None:
    def edit(graph: MetaGraphDef) -> None:
        graph.signature_def["pixels"].outputs["label"].name = "no_such_tensor:0"

    broken = edit_export(good_export, edit)
    answers = probe_here(plan(broken, "serving_default", "pixels", "examples"), sample).answers
    (answer,) = (answer for answer in answers if answer.signature == "pixels")
    assert answer.kind == Kind.GOOD
    assert answer.error.startswith("InvalidArgumentError: ")
    assert "no_such_tensor" in answer.error
    assert [answer.signature for answer in answers if answer.kind == Kind.PYTHON] == ["serving_default", "examples"]
    assert probe_here(plan(broken, "pixels"), sample).python_load_error is None


def test_foreign_ops_are_unknown_or_call_python() -> None:
    ops = ["Conv2D", "VarHandleOp", "RestoreV2", "PyFunc", "EagerPyFunc", "PyFuncStateless", "DecodeDigits"]
    assert foreign_ops(ops) == ["DecodeDigits", "EagerPyFunc", "PyFunc", "PyFuncStateless"]


def test_an_incomplete_report_is_read(tmp_path: Path) -> None:
    assert read_report(tmp_path) == Report(answers=[])
    (tmp_path / "events.jsonl").write_text('{"foreign_ops": []}\n{"doing": "loading"}\n{"load_err')
    assert read_report(tmp_path) == Report(foreign_ops=[], doing="loading", answers=[])


def test_the_process_does_not_import_from_the_working_directory(
    good_export: Path, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "__init__.py").write_text("raise ImportError('not ours')")
    monkeypatch.chdir(tmp_path)
    report = run_probe(plan(good_export, "pixels"), sample, 120, tmp_path / "log")
    assert (report.failure, report.ended) == ("", True)


def test_an_export_that_ends_the_process_without_an_error(
    save_export: Callable[[Any], Path], sample: Sample, tmp_path: Path
) -> None:
    class Ending(TinyModel):
        def classify_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([tf.raw_ops.Abort(exit_without_error=True)]):
                return super().classify_pixels(tf.identity(image))

    report = run_probe(plan(save_export(Ending()), "pixels"), sample, 120, tmp_path / "log")
    assert report.failure == "it ended before it was done"
    assert (report.doing, report.doing_on) == ("good request", "pixels")


def test_an_export_that_kills_only_the_python_loader(
    save_export: Callable[[Any], Path], edit_export: Any, sample: Sample, tmp_path: Path
) -> None:
    class Ink(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self) -> tf.Tensor:
            return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[])

        def _initialize(self) -> None:
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="no ink")]):
                tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=tf.constant(0.0))

    class Deadly(TinyModel):
        def __init__(self) -> None:
            super().__init__()
            self.ink = Ink()

    def edit(graph: MetaGraphDef) -> None:
        # Python initializes resources itself; the session runs what these entries name.
        del graph.signature_def["__saved_model_init_op"]
        graph.collection_def.clear()

    report = run_probe(plan(edit_export(save_export(Deadly()), edit), "pixels"), sample, 120, tmp_path / "log")
    assert report.failure == "it was ended by signal 6 (Aborted): Abort_op intentional failure; no ink"
    assert (report.doing, report.doing_on) == ("Python loader", "")
    assert Kind.LATENCY in {answer.kind for answer in report.answers}


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
def test_the_last_words_of_a_process_are_its_fatal_error_or_last_line(log: str, words: str) -> None:
    assert last_words(log) == words
