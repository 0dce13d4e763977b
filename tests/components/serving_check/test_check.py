import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from components.features import Contract
from components.image_decoding import decode_images
from components.serving_check import check
from components.serving_check.check import (
    ExportError,
    check_accuracy,
    check_answers,
    check_export,
    check_process,
    check_signatures,
    read_export,
)
from components.serving_check.limits import ServingLimits
from components.serving_check.probe import Answer, Report
from components.serving_check.requests import Kind, Sample, contract_signatures
from components.trainer.hyperparameters import Hyperparameters
from components.trainer.model import build_model
from components.trainer.signatures import ServingModel, export_model
from components.verdict import Finding
from registry.signatures import Signature, TensorForm
from tests.components.serving_check.tiny_model import TinyModel, save
from tests.support.examples import DIGITS, SHAPES, png

EditExport = Callable[[Path, Callable[[MetaGraphDef], None]], Path]
Check = Callable[..., list[Finding]]
Save = Callable[[tf.Module], Path]
Outputs = dict[str, Any]

SIGNATURES = contract_signatures(DIGITS)
PIXELS = SIGNATURES["pixels"]


def refused(findings: Iterable[Finding]) -> list[tuple[str, str, str]]:
    return [(str(finding.metric), finding.slice, finding.reason) for finding in findings if not finding.passed]


# What an export says about itself.


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (PIXELS, ""),
        (replace(PIXELS, outputs={**PIXELS.outputs, "embedding": TensorForm("float32", (None, 128))}), ""),
        (None, "there is no such signature"),
        (
            replace(PIXELS, outputs={name: form for name, form in PIXELS.outputs.items() if name != "confidence"}),
            "the output 'confidence' is missing, expected float32[n]",
        ),
        (
            replace(PIXELS, inputs={"images": PIXELS.inputs["image"]}),
            "the input 'image' is missing, expected float32[n,28,28]; it also requires the input 'images'",
        ),
        (
            replace(PIXELS, outputs={**PIXELS.outputs, "label": TensorForm("int64", (None,))}),
            "the output 'label' is int64[n], expected string[n]",
        ),
        (
            replace(PIXELS, outputs={**PIXELS.outputs, "probabilities": TensorForm("float32", (None, 9))}),
            "the output 'probabilities' is float32[n,9], expected float32[n,10]",
        ),
        (
            Signature({"image": TensorForm("float32", None)}, PIXELS.outputs),
            "the input 'image' is float32[…], expected float32[n,28,28]",
        ),
    ],
)
def test_signatures_that_keep_or_break_the_contract(found: Signature | None, reason: str) -> None:
    others = {name: signature for name, signature in SIGNATURES.items() if name != "pixels"}
    findings = check_signatures({**others, "pixels": found} if found else others, DIGITS)
    assert [finding.slice for finding in findings] == list(SIGNATURES)
    assert refused(findings) == ([("signature", "pixels", reason)] if reason else [])


def test_the_description_of_an_export(good_export: Path, edit_export: EditExport) -> None:
    export = read_export(str(good_export))
    assert export.signatures == SIGNATURES
    assert {"Placeholder", "MatMul"} <= export.ops
    assert not any(name.startswith("__inference") for name in export.ops)

    def edit(graph: MetaGraphDef) -> None:
        graph.signature_def["pixels"].outputs["label"].tensor_shape.Clear()
        graph.signature_def["pixels"].outputs["label"].tensor_shape.unknown_rank = True
        graph.graph_def.library.function.add().signature.name = "scale"
        # A call of the function, in the form of an op.
        graph.graph_def.node.add(op="scale")

    edited = read_export(str(edit_export(good_export, edit)))
    assert edited.signatures["pixels"].outputs["label"] == TensorForm("string", None)
    assert edited.ops == export.ops


def test_folders_without_an_export(good_export: Path, tmp_path: Path) -> None:
    file = tmp_path / "saved_model.pb"
    with pytest.raises(ExportError, match=f"there is no {file}"):
        read_export(str(tmp_path))
    content = (good_export / "saved_model.pb").read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ExportError, match=f"{file} is damaged"):
        read_export(str(tmp_path))
    saved_model = SavedModel()
    saved_model.meta_graphs.add().meta_info_def.tags.append("train")
    file.write_bytes(saved_model.SerializeToString())
    with pytest.raises(ExportError, match=r"/saved_model.pb has no graph tagged \['serve'\], only \[\['train'\]\]"):
        read_export(str(tmp_path))


# What the fresh process reports.

WHOLE = Report(foreign_ops=(), load_error="", python_load_error="", ended=True)


def test_a_process_that_finishes_passes() -> None:
    findings = check_process(WHOLE, num_ops=64)
    assert [(finding.metric, finding.value, finding.bound, finding.passed) for finding in findings] == [
        ("core ops", "64 of 64", "all", True),
        ("session-based loader", "loaded", "loaded", True),
        ("Python loader", "loaded", "loaded", True),
    ]


@pytest.mark.parametrize(
    ("report", "metric", "slice_name", "reason"),
    [
        (
            Report(foreign_ops=("DecodeDigits", "PyFunc"), ended=True),
            "core ops",
            "export",
            "TF Serving does not have DecodeDigits, PyFunc",
        ),
        (
            replace(WHOLE, load_error="NotFoundError: no variables", python_load_error=None),
            "session-based loader",
            "export",
            "NotFoundError: no variables",
        ),
        (
            replace(WHOLE, python_load_error="ValueError: no object graph"),
            "Python loader",
            "export",
            "ValueError: no object graph",
        ),
        (
            replace(WHOLE, doing="huge batch", doing_on="pixels", failure="it was ended by signal 9 (Killed)"),
            "fresh process",
            "pixels",
            "it was ended by signal 9 (Killed); it was busy with: huge batch",
        ),
        (
            Report(failure="it was killed after 1 s"),
            "fresh process",
            "export",
            "it was killed after 1 s; it was busy with: starting",
        ),
    ],
)
def test_a_process_that_fails_is_refused(report: Report, metric: str, slice_name: str, reason: str) -> None:
    assert refused(check_process(report, num_ops=64)) == [(metric, slice_name, reason)]


# What the signatures answer.

LIMITS = ServingLimits(huge_batch=9, max_latency_ms=10, min_agreement=0.75)
NUMBERS = np.array([3, 1, 4, 1])


def outputs(numbers: Any) -> Outputs:
    """Returns answers with these digits."""
    probabilities = np.full((len(numbers), 10), 0.01, np.float32)
    probabilities[np.arange(len(numbers)), numbers] = 0.91
    return {
        "probabilities": probabilities,
        "classes": np.tile(np.array([DIGITS.classes], "S"), (len(numbers), 1)),
        "label": np.array([str(number) for number in numbers], "S"),
        "confidence": probabilities.max(axis=-1, initial=0),
        "status": np.array([b"ok"] * len(numbers), "S"),
    }


def pixel_answers(changes: dict[Kind, Outputs | str]) -> list[Answer]:
    """Good answers of the signature `pixels`; `changes` replaces outputs of a kind, or makes them an error."""
    made = [
        Answer("pixels", Kind.GOOD, "", 4, outputs(NUMBERS)),
        Answer("pixels", Kind.ALONE, "", 1, outputs(NUMBERS[:1])),
        Answer("pixels", Kind.EMPTY, "", 0, outputs(NUMBERS[:0])),
        Answer("pixels", Kind.HUGE, "", 9, outputs(np.resize(NUMBERS, 9))),
        Answer("pixels", Kind.MALFORMED, "27 rows", 1, error="InvalidArgumentError: wrong shape"),
        Answer("pixels", Kind.AFTERWARDS, "27 rows", 1, outputs(NUMBERS[:1])),
        Answer("pixels", Kind.LATENCY, "", 1, outputs(NUMBERS[:1]), milliseconds=(1.0,) * 98 + (9.0, 9.0)),
        Answer("pixels", Kind.PYTHON, "", 4, outputs(NUMBERS)),
        Answer("examples", Kind.PYTHON, "", 4, outputs(NUMBERS)),
    ]
    for kind, change in changes.items():
        changed: dict[str, Any] = (
            {"outputs": {}, "error": change} if isinstance(change, str) else {"outputs": change, "error": ""}
        )
        made = [replace(answer, **changed) if answer.kind == kind else answer for answer in made]
    return made


def check_pixels(changes: dict[Kind, Outputs | str]) -> list[Finding]:
    return check_answers(pixel_answers(changes), DIGITS, LIMITS)


def test_good_answers_pass_and_every_check_is_listed() -> None:
    findings = check_pixels({})
    assert refused(findings) == []
    assert {finding.slice for finding in findings} == {"pixels"}
    assert {finding.metric: (finding.value, finding.bound) for finding in findings} == {
        "same as in Python": (0, "≤ 0.0001"),
        "sum of probabilities, less one": (pytest.approx(0, abs=1e-6), "≤ 0.0001"),
        "labels as by examples": (1, "≥ 0.7500"),
        "classes of the schema": (None, ""),
        "one image alone": (0, "≤ 0.0001"),
        "empty batch": ("0 answers", "0 answers"),
        "huge batch": ("9 answers", "9 answers"),
        "malformed request": ("1 refused", "1 refused"),
        "good request after a malformed one": (0, "≤ 0.0001"),
        "median latency, ms": (1, ""),
        "p99 latency, ms": (9, "≤ 10"),
    }
    settings = {finding.setting for finding in findings if finding.bound.startswith(("≤", "≥"))}
    assert settings == {f"serving_check.{limit}" for limit in ("tolerance", "min_agreement", "max_latency_ms")}


def changed(name: str, place: Any, value: Any, numbers: Any = NUMBERS) -> Outputs:
    values = outputs(numbers)[name]
    values = values.astype("S9") if values.dtype.kind == "S" else values
    values[place] = value
    return {**outputs(numbers), name: values}


@pytest.mark.parametrize(
    ("changes", "metric", "value", "reason"),
    [
        ({Kind.GOOD: "InternalError: no paper"}, "good request", None, "InternalError: no paper"),
        (
            {Kind.GOOD: outputs(NUMBERS[:1])},
            "good request",
            None,
            "label has the shape [1], expected [4]",
        ),
        (
            {Kind.GOOD: {**outputs(NUMBERS), "label": outputs(NUMBERS)["label"][:, np.newaxis]}},
            "good request",
            None,
            "label has the shape [4, 1], expected [4]",
        ),
        ({Kind.ALONE: "InternalError: no paper"}, "one image alone", "not finite", "InternalError: no paper"),
        (
            {Kind.ALONE: outputs([1]), Kind.AFTERWARDS: outputs([1])},
            "one image alone",
            pytest.approx(0.9),
            "label of image 0 is 1, expected 3",
        ),
        (
            {Kind.AFTERWARDS: changed("status", 0, b"blank", [3])},
            "good request after a malformed one",
            0,
            "status of image 0 is blank, expected ok",
        ),
        (
            {Kind.AFTERWARDS: changed("confidence", 0, np.nan, [3])},
            "good request after a malformed one",
            "not finite",
            "confidence of image 0 is nan, expected 0.91",
        ),
        (
            {Kind.AFTERWARDS: "InternalError: no paper"},
            "good request after a malformed one",
            "not finite",
            "InternalError: no paper",
        ),
        ({Kind.EMPTY: "InternalError: no paper"}, "empty batch", "an error", "InternalError: no paper"),
        ({Kind.EMPTY: outputs([3])}, "empty batch", "1 answers", "classes has the shape [1, 10], expected [0, 10]"),
        (
            {Kind.HUGE: outputs(np.resize(NUMBERS, 8))},
            "huge batch",
            "8 answers",
            "classes has the shape [8, 10], expected [9, 10]",
        ),
        ({Kind.HUGE: outputs(np.arange(9))}, "huge batch", "9 answers", "label of image 0 is 0, expected 3"),
        (
            {Kind.MALFORMED: outputs(NUMBERS)},
            "malformed request",
            "0 refused",
            "27 rows got an answer, expected an error",
        ),
        (
            {Kind.MALFORMED: "InternalError: no paper"},
            "malformed request",
            "0 refused",
            "27 rows was an error of the server: InternalError: no paper",
        ),
        ({Kind.LATENCY: "InternalError: no paper"}, "latency", None, "InternalError: no paper"),
        (
            {Kind.PYTHON: changed("confidence", 2, 0.5)},
            "same as in Python",
            pytest.approx(0.41),
            "confidence of image 2 is 0.91, expected 0.5",
        ),
        (
            {Kind.GOOD: changed("probabilities", (0, slice(2)), [-0.1, 0.12])},
            "sum of probabilities, less one",
            pytest.approx(0, abs=1e-6),
            "that of class 0 for image 0 is -0.1, expected 0 to 1",
        ),
        (
            {Kind.GOOD: changed("probabilities", (slice(None), 5), np.nan)},
            "sum of probabilities, less one",
            "not finite",
            "that of class 5 for image 0 is nan, expected 0 to 1",
        ),
        (
            {Kind.GOOD: changed("classes", (1, 2), b"b")},
            "classes of the schema",
            None,
            "class 2 of image 1 is b, expected 2",
        ),
        (
            {Kind.GOOD: changed("probabilities", (0, 3), 0.5)},
            "sum of probabilities, less one",
            pytest.approx(0.41),
            "they do not sum to 1",
        ),
    ],
)
def test_each_flaw_is_refused(changes: dict[Kind, Outputs | str], metric: str, value: Any, reason: str) -> None:
    refusals = [finding for finding in check_pixels(changes) if not finding.passed]
    assert (metric, value, reason) in [(finding.metric, finding.value, finding.reason) for finding in refusals]
    # A wrong good answer with valid shapes makes others wrong too.
    assert len(refusals) == 1 or (Kind.GOOD in changes and metric != Kind.GOOD)


def test_numbers_may_differ_within_the_tolerance() -> None:
    assert refused(check_pixels({Kind.ALONE: changed("confidence", 0, 0.91 + 2**-16, [3])})) == []


def test_a_slow_answer_is_refused() -> None:
    slow = [
        replace(answer, milliseconds=(1.0,) * 98 + (11.0, 11.0)) if answer.kind == Kind.LATENCY else answer
        for answer in pixel_answers({})
    ]
    assert refused(check_answers(slow, DIGITS, LIMITS)) == [("p99 latency, ms", "pixels", "one image takes too long")]


@pytest.mark.parametrize(
    ("gated", "reason"),
    [
        (outputs([3, 1, 4, 0]), ""),
        (outputs([3, 1, 0, 0]), "2 of 4 labels differ from those of `examples`"),
        # Without labels of the gated signature there is nothing to compare with.
        (outputs([3]), None),
        ("InternalError: no paper", None),
    ],
)
def test_labels_are_compared_with_those_of_the_gated_signature(gated: Outputs | str, reason: str | None) -> None:
    change: dict[str, Any] = {"error": gated} if isinstance(gated, str) else {"outputs": gated}
    *others, examples = pixel_answers({})
    findings = check_answers([*others, replace(examples, **change)], DIGITS, LIMITS)
    reasons = [finding.reason for finding in findings if finding.metric == "labels as by examples"]
    assert reasons == ([] if reason is None else [reason])
    assert len(refused(findings)) == bool(reason)


def test_answers_that_cannot_be_compared_with_python() -> None:
    *others, _, gated = pixel_answers({})
    findings = check_answers([*others, gated], DIGITS, LIMITS)
    assert refused(findings) == []
    assert "same as in Python" not in {finding.metric for finding in findings}
    failing = Answer("pixels", Kind.PYTHON, error="InternalError: no ink")
    assert refused(check_answers([*others, failing, gated], DIGITS, LIMITS)) == [
        ("same as in Python", "pixels", "the Python loader fails: InternalError: no ink")
    ]


def check_normalized(images: np.ndarray, in_python: np.ndarray) -> list[Finding]:
    def answer(kind: Kind, num_images: int) -> Answer:
        outputs = {"image": np.resize(images, (num_images, 28, 28))}
        return Answer("normalize", kind, "", num_images, outputs, milliseconds=(1.0,))

    answers = [
        *(answer(Kind.GOOD, len(images)), answer(Kind.ALONE, 1), answer(Kind.EMPTY, 0), answer(Kind.HUGE, 9)),
        Answer("normalize", Kind.MALFORMED, "a text file", 1, error="InvalidArgumentError: no image"),
        *(answer(Kind.AFTERWARDS, 1), answer(Kind.LATENCY, 1)),
        Answer("normalize", Kind.PYTHON, "", len(images), {"image": in_python}),
        Answer("examples", Kind.PYTHON, "", len(images), outputs(np.zeros(len(images), int))),
    ]
    return check_answers(answers, DIGITS, LIMITS)


def test_normalized_images_are_compared_in_units_of_full_ink() -> None:
    images = np.full((4, 28, 28), 200, np.float32)
    findings = check_normalized(images, images + 0.02)
    assert refused(findings) == []
    bounds = {finding.metric: (finding.value, finding.bound) for finding in findings}
    assert bounds["same as in Python"] == (pytest.approx(0.02, abs=1e-3), "≤ 0.0255")
    assert bounds["largest pixel"] == (200, "≤ 255")
    assert "labels as by examples" not in bounds
    assert refused(check_normalized(images, images + 0.05)) == [
        ("same as in Python", "normalize", "image of image 0 is 200, expected 200.05")
    ]


@pytest.mark.parametrize(("pixel", "text"), [(256, "256"), (-1, "-1"), (np.nan, "nan")])
def test_a_pixel_out_of_range_is_refused(pixel: float, text: str) -> None:
    images = np.full((4, 28, 28), 200, np.float32)
    images[:, 3, 4] = pixel
    reason = f"pixel 3, 4 of image 0 is {text}, expected 0 to 255"
    assert refused(check_normalized(images, images)) == [("largest pixel", "normalize", reason)]


def sent(*answers: list[str] | int) -> list[Answer]:
    """Returns answers with these labels, or errors for a number of images."""
    return [
        Answer("serving_default", Kind.SENT, "", answer, error="InvalidArgumentError: too large")
        if isinstance(answer, int)
        else Answer(
            "serving_default", Kind.SENT, "", len(answer), {"label": np.array([label.encode() for label in answer])}
        )
        for answer in answers
    ]


@pytest.mark.parametrize(
    ("answers", "labels", "value", "reason"),
    [
        pytest.param(sent(["A"] * 60, ["ß"] * 40), [*["A"] * 60, *["ß"] * 40], 1.0, "", id="right"),
        pytest.param(sent(["A"] * 90, ["A"] * 10), [*["A"] * 98, "ß", ""], 0.98, "", id="whole interval"),
        pytest.param(
            sent(["A"] * 95, [""] * 5),
            ["A"] * 100,
            0.95,
            "it may be as low as 0.8882; check that trainer.preparation suits the images",
            id="too many mistakes",
        ),
        pytest.param(
            sent(["A"] * 94, 1, ["A"] * 4, 1),
            ["A"] * 100,
            0.98,
            "",
            id="an error is a mistake",
        ),
        pytest.param(
            sent(["A"] * 90, *[1] * 10),
            ["A"] * 100,
            0.9,
            "it may be as low as 0.8256; check that trainer.preparation suits the images; 10 images got an "
            "error, such as InvalidArgumentError: too large",
            id="too many errors",
        ),
        pytest.param(
            sent(["A"] * 30), ["A"] * 30, 1.0, "too few images: even a perfect model would need 35", id="too few images"
        ),
    ],
)
def test_the_accuracy_on_image_files(answers: list[Answer], labels: list[str], value: float, reason: str) -> None:
    [finding] = check_accuracy(answers, [label.encode() for label in labels], min_accuracy=0.9)
    assert (finding.metric, finding.slice) == ("accuracy on image files", "serving_default")
    assert (finding.passed, finding.reason) == (not reason, reason)
    assert (finding.value, finding.lower_bound) == (value, 0.9)
    assert finding.setting == "evaluation.min_accuracy - serving_check.max_accuracy_drop"


def test_labels_of_other_images_are_mistakes() -> None:
    for labels in (np.array([b"A"]), np.array(b"A")):
        answers = [*sent(["A"] * 90), Answer("serving_default", Kind.SENT, "", 10, {"label": labels})]
        [finding] = check_accuracy(answers, [b"A"] * 100, min_accuracy=0.9)
        assert (finding.passed, finding.value) == (False, 0.9)


def test_a_signature_that_fails_has_no_accuracy() -> None:
    assert check_accuracy(pixel_answers({}), [b"A"], min_accuracy=0.9) == []


# Whole exports: each is refused for its flaw and nothing else.


@pytest.fixture
def check_sample(sample: Sample, limits: ServingLimits, tmp_path: Path) -> Callable[..., list[Finding]]:
    """Checks an export as the step does; what is said of the files does not matter."""

    def check_with(export: Path, contract: Contract = DIGITS, sample: Sample = sample, **changes: Any) -> list[Finding]:
        labels = [b"3"] * sample.num_sent
        return check_export(
            str(export), contract, sample, labels, 0.0, limits.model_copy(update=changes), tmp_path / "log"
        )

    return check_with


@pytest.fixture
def check_here(check_sample: Check, probe_here: Any, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Checks an export without a fresh process, for flaws that do not need one."""
    monkeypatch.setattr(check, "run_probe", lambda plan, sample, _timeout_s, _log_file: probe_here(plan, sample))
    return check_sample


@pytest.fixture
def serving_model() -> ServingModel:
    """What the Trainer exports, untrained."""

    class Standardization(tf.Module):
        def call(self, features: Outputs) -> Outputs:
            return {"image": decode_images(features["image"], DIGITS.image_shape) / 255}

        def transform_features_layer(self) -> "Standardization":
            return self

    keras.utils.set_random_seed(1)
    hyperparameters = Hyperparameters()
    return ServingModel(build_model(DIGITS, hyperparameters), Standardization(), DIGITS, 0.5, hyperparameters)


def test_an_export_of_the_trainer_passes(
    serving_model: ServingModel, check_sample: Check, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export_model(serving_model, str(tmp_path / "model"))
    with caplog.at_level(logging.INFO, logger="components"):
        findings = check_sample(tmp_path / "model")
    assert refused(findings) == []
    # Ops and two loaders, twelve of each signature that returns labels, ten of the other, and the accuracy.
    assert len({(finding.metric, finding.slice) for finding in findings}) == len(findings) == 3 + 3 * 12 + 10 + 1
    assert "session-based loader: 4 signatures, median " in caplog.text


@pytest.mark.slow
def test_an_export_that_only_the_python_loader_can_load(
    serving_model: ServingModel, check_sample: Check, tmp_path: Path
) -> None:
    # keras-team/keras#20096: saved in this way, a Keras 3 model has its variables for Python only.
    refusals = refused(check_sample(save(serving_model, tmp_path / "model")))
    assert [refusal[:2] for refusal in refusals] == [
        ("good request", name) for name in ("serving_default", "pixels", "examples")
    ]
    variables = {variable.path for variable in serving_model.model.variables}
    for *_, reason in refusals:
        error, _, variable = reason.partition(": Could not find variable ")
        assert error == "FailedPreconditionError"
        assert variable in variables


def test_a_custom_op(good_export: Path, check_sample: Check, edit_export: EditExport) -> None:
    def edit(graph: MetaGraphDef) -> None:
        functions = graph.graph_def.library.function
        next(node for function in functions for node in function.node_def if node.op == "Softmax").op = "FancySoftmax"

    reason = "TF Serving does not have FancySoftmax"
    assert refused(check_sample(edit_export(good_export, edit))) == [("core ops", "export", reason)]


def failing(model: TinyModel, image: tf.Tensor) -> Outputs:
    with tf.control_dependencies([tf.debugging.assert_negative(tf.size(image), message="no ink")]):
        return TinyModel.classify_pixels(model, tf.identity(image))


def without_status(model: TinyModel, examples: tf.Tensor) -> Outputs:
    return {name: values for name, values in TinyModel.classify_examples(model, examples).items() if name != "status"}


def always_three(model: TinyModel, image_bytes: tf.Tensor) -> Outputs:
    answers = TinyModel.classify_image_bytes(model, image_bytes)
    return {**answers, "label": tf.fill(tf.shape(answers["label"]), "3")}


def sorted_classes(model: TinyModel, pixels: tf.Tensor) -> Outputs:
    answers = TinyModel.answer(model, pixels)
    return {**answers, "classes": tf.reverse(answers["classes"], [-1])}


def normalized_over_the_batch(model: TinyModel, pixels: tf.Tensor) -> tf.Tensor:
    logits = TinyModel.logits(model, pixels)
    return logits - tf.reduce_mean(logits, axis=0)


def resized(model: TinyModel, image: tf.Tensor) -> Outputs:
    return model.answer(tf.image.resize(image[..., tf.newaxis], (28, 28))[..., 0])


def without_empty_batches(model: TinyModel, pixels: tf.Tensor) -> Outputs:
    with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(pixels)[0])]):
        return TinyModel.answer(model, tf.identity(pixels))


@pytest.mark.parametrize(
    ("method", "broken", "metric", "slices"),
    [
        ("classify_pixels", failing, "good request", ["pixels"]),
        ("classify_examples", without_status, "signature", ["examples"]),
        ("classify_image_bytes", always_three, "labels as by examples", ["serving_default"]),
        ("answer", sorted_classes, "classes of the schema", ["serving_default", "pixels", "examples"]),
        ("logits", normalized_over_the_batch, "one image alone", ["serving_default", "pixels", "examples"]),
        ("classify_pixels", resized, "malformed request", ["pixels"]),
        ("answer", without_empty_batches, "empty batch", ["serving_default", "pixels", "examples"]),
    ],
)
def test_signatures_with_wrong_outputs(
    save_export: Save, check_here: Check, method: str, broken: Callable, metric: str, slices: list[str]
) -> None:
    findings = check_here(save_export(type("Broken", (TinyModel,), {method: broken})()))
    assert [refusal[:2] for refusal in refused(findings)] == [(metric, name) for name in slices]
    # A signature that breaks the contract or fails is not tested further; the others are.
    left_out = slices if metric in ("signature", "good request") else []
    timed = [finding.slice for finding in findings if finding.metric == "p99 latency, ms"]
    assert timed == [name for name in SIGNATURES if name not in left_out]


def test_a_color_export_passes(save_export: Save, check_here: Check) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, *SHAPES.image_shape), dtype=np.uint8)
    findings = check_here(save_export(TinyModel(SHAPES)), SHAPES, Sample(images))
    assert refused(findings) == []
    assert [finding for finding in findings if finding.metric == "largest pixel"]


def test_an_export_of_another_contract_is_refused(good_export: Path, check_here: Check, sample: Sample) -> None:
    contract = replace(DIGITS, classes=("0", "1"), width=32)
    reasons = {name: reason for _, name, reason in refused(check_here(good_export, contract))}
    assert "the input 'image' is float32[n,28,28], expected float32[n,28,32]" in reasons["pixels"]
    assert "the output 'probabilities' is float32[n,10], expected float32[n,2]" in reasons["examples"]


def test_image_files_of_the_data_are_sent(good_export: Path, check_here: Check, images: np.ndarray) -> None:
    [finding] = [each for each in check_here(good_export) if each.metric == "accuracy on image files"]
    files = tf.constant([png(image) for image in images])
    labels = tf.saved_model.load(str(good_export)).signatures["serving_default"](image_bytes=files)
    assert finding.value == np.mean(labels["label"].numpy() == b"3")


def test_an_export_that_hangs(save_export: Save, check_sample: Check) -> None:
    class Endless(TinyModel):
        def answer(self, pixels: tf.Tensor) -> Outputs:
            forever = tf.while_loop(lambda step: step >= 0, lambda step: (step + 1) % 7, [0])
            return super().answer(pixels + tf.cast(forever[0], tf.float32))

    ((metric, _, reason),) = refused(check_sample(save_export(Endless()), timeout_s=12))
    assert metric == "fresh process"
    assert reason.startswith("it was killed after 12 s, serving_check.timeout_s; it was busy with: ")


def test_an_export_that_kills_its_process(save_export: Save, check_sample: Check) -> None:
    class Deadly(TinyModel):
        def classify_pixels(self, image: tf.Tensor) -> Outputs:
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="no ink")]):
                return super().classify_pixels(tf.identity(image))

    assert refused(check_sample(save_export(Deadly()))) == [
        (
            "fresh process",
            "pixels",
            "it was ended by signal 6 (Aborted): Abort_op intentional failure; no ink; it was busy with: good request",
        )
    ]


def test_a_folder_without_an_export(check_sample: Check, tmp_path: Path) -> None:
    assert refused(check_sample(tmp_path)) == [("SavedModel", "export", f"there is no {tmp_path}/saved_model.pb")]


def test_an_export_without_its_variables(good_export: Path, check_here: Check, tmp_path: Path) -> None:
    model = shutil.copytree(good_export, tmp_path / "model", ignore=shutil.ignore_patterns("variables*"))
    ((metric, *_),) = refused(check_here(model))
    assert metric == "session-based loader"


def test_an_export_that_the_python_loader_cannot_load(
    good_export: Path, check_here: Check, edit_export: EditExport
) -> None:
    def edit(graph: MetaGraphDef) -> None:
        variables = (node.variable for node in graph.object_graph_def.nodes if node.WhichOneof("kind") == "variable")
        next(variables).dtype = 99

    ((metric, slice_name, reason),) = refused(check_here(edit_export(good_export, edit)))
    assert (metric, slice_name) == ("Python loader", "export")
    assert reason.startswith("TypeError: ")
