from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from components.serving_check.contract import SIGNATURES
from components.serving_check.exchange import Kind, Plan, Report, Request, read_report
from components.serving_check.limits import ServingLimits
from components.serving_check.probe import probe
from components.serving_check.requests import build_requests
from registry.signatures import ANSWER_OUTPUTS


@pytest.fixture
def report_of(tmp_path: Path) -> Any:
    def follow(plan: Plan) -> Report:
        with (tmp_path / "report").open("w", buffering=1) as report:
            probe(plan, report)
        return read_report(tmp_path / "report")

    return follow


def test_every_request_is_answered(
    report_of: Any, good_export: Path, images: np.ndarray, limits: ServingLimits
) -> None:
    requests = build_requests(images, ["pixels", "examples"], limits)
    report = report_of(Plan(str(good_export), ("MatMul",), requests))
    assert (report.foreign_ops, report.load_error) == ((), "")
    asked = [(request.signature, request.kind, request.name, request.times) for request in requests]
    assert [(answer.signature, answer.kind, answer.name) for answer in report.answers] == [key[:3] for key in asked]
    for answer, (*_, times) in zip(report.answers, asked, strict=True):
        assert (answer.error == "") == (answer.kind != Kind.MALFORMED)
        assert len(answer.milliseconds) == (0 if answer.error else times)


def test_the_python_loader_is_asked_the_good_requests(
    report_of: Any, good_export: Path, images: np.ndarray, limits: ServingLimits
) -> None:
    report = report_of(Plan(str(good_export), (), build_requests(images, SIGNATURES, limits)))
    expected = tf.saved_model.load(str(good_export)).signatures["pixels"](image=tf.constant(images, tf.float32))
    assert report.python_load_error == ""
    *answers, normalized = report.python_answers
    assert [(answer.signature, answer.kind) for answer in report.python_answers] == [
        (name, Kind.GOOD) for name in SIGNATURES
    ]
    np.testing.assert_array_equal(normalized.outputs["image"], images)
    for answer in answers:
        np.testing.assert_allclose(answer.outputs["probabilities"], expected["probabilities"], atol=1e-6)
        assert answer.outputs["status"].tolist() == expected["status"].numpy().tolist()


def test_only_the_outputs_of_the_contract_are_reported(
    report_of: Any, tiny_model: Any, save_export: Callable[[Any], Path], images: np.ndarray
) -> None:
    class Talkative(tiny_model):
        def answer(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            return {**super().answer(pixels), "noise": tf.random.uniform([3])}

    good = Request("pixels", Kind.GOOD, "image", images.astype(np.float32))
    report = report_of(Plan(str(save_export(Talkative())), (), (good,)))
    for (answer,) in (report.answers, report.python_answers):
        assert (set(answer.outputs), answer.error) == (set(ANSWER_OUTPUTS), "")


def test_the_graph_sees_values_of_a_wrong_shape(report_of: Any, good_export: Path) -> None:
    wrong = Request("pixels", Kind.MALFORMED, "image", np.zeros((1, 27, 28), np.float32))
    (answer,) = report_of(Plan(str(good_export), (), (wrong,))).answers
    # Python's own check would have said "Cannot feed value of shape".
    assert (answer.error, answer.message) == (
        "InvalidArgumentError",
        "Shape of tensor _arg_pixels_image_0_0 [1,27,28] is not compatible with expected shape [?,28,28]",
    )


def test_a_foreign_op_ends_it_before_it_loads(report_of: Any) -> None:
    assert report_of(Plan("no such folder", ("Abs", "DecodeDigits"), ())) == Report(foreign_ops=("DecodeDigits",))


def test_what_the_loader_refuses(report_of: Any, tmp_path: Path) -> None:
    report = report_of(Plan(str(tmp_path), (), ()))
    assert report.load_error.startswith("OSError: SavedModel file does not exist at")
    assert report.doing == "session-based loader"


def test_a_signature_that_fails_the_good_request_is_asked_nothing_more(
    report_of: Any, good_export: Path, images: np.ndarray, limits: ServingLimits
) -> None:
    broken = Request("pixels", Kind.GOOD, "image", np.zeros((1, 27, 28), np.float32))
    requests = (broken, *build_requests(images, ["pixels"], limits)[1:], *build_requests(images, ["examples"], limits))
    report = report_of(Plan(str(good_export), (), requests))
    answers = report.answers
    assert [answer.kind for answer in answers if answer.signature == "pixels"] == [Kind.GOOD]
    assert len([answer for answer in answers if answer.signature == "examples"]) > 5
    assert [answer.signature for answer in report.python_answers] == ["examples"]


def test_a_signature_that_points_at_a_missing_tensor(
    report_of: Any, good_export: Path, edit_export: Any, images: np.ndarray, limits: ServingLimits
) -> None:
    def edit(graph: MetaGraphDef) -> None:
        graph.signature_def["pixels"].outputs["digit"].name = "no_such_tensor:0"

    requests = build_requests(images, ["serving_default", "pixels", "examples"], limits)
    answers = report_of(Plan(str(edit_export(good_export, edit)), (), requests)).answers
    (answer,) = (answer for answer in answers if answer.signature == "pixels")
    assert (answer.kind, answer.error) == (Kind.GOOD, "InvalidArgumentError")
    assert "no_such_tensor" in answer.message
    assert [answer.signature for answer in answers if answer.kind == Kind.LATENCY] == ["serving_default", "examples"]


def test_without_an_answer_the_python_loader_is_not_asked(report_of: Any, good_export: Path) -> None:
    broken = Request("pixels", Kind.GOOD, "image", np.zeros((1, 27, 28), np.float32))
    report = report_of(Plan(str(good_export), (), (broken,)))
    assert (report.python_load_error, report.python_answers) == (None, ())
