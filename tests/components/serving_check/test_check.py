"""Exports that break in one way each: every one is refused for that, and for nothing else."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from components.serving_check import check
from components.serving_check.check import check_export
from components.serving_check.contract import SIGNATURES
from components.serving_check.exchange import Plan, Report, read_report
from components.serving_check.limits import ServingLimits
from components.serving_check.probe import probe
from components.trainer.signatures import DigitAnswers, export_model
from components.verdict import Finding

EditExport = Callable[[Path, Callable[[MetaGraphDef], None]], Path]
Check = Callable[[Path], list[Finding]]
Refusals = Callable[[Iterable[Finding]], list[tuple[str, str]]]
Save = Callable[[Any], Path]


@pytest.fixture
def check_afresh(images: np.ndarray, limits: ServingLimits, tmp_path: Path) -> Check:
    """Checks an export as the step does."""
    return lambda export: check_export(str(export), images, limits, tmp_path / "log")


@pytest.fixture
def check_here(check_afresh: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Checks an export without starting a process, for flaws that need none to be seen."""

    def run_here(plan: Plan, timeout_s: float, log_file: Path) -> Report:
        with (tmp_path / "report").open("w", buffering=1) as report:
            probe(plan, report)
        return read_report(tmp_path / "report")

    monkeypatch.setattr(check, "run_probe", run_here)
    return check_afresh


def test_what_the_trainer_exports_passes(
    digit_answers: DigitAnswers, check_afresh: Check, refusals: Refusals, tmp_path: Path
) -> None:
    export_model(digit_answers, str(tmp_path / "model"))
    findings = check_afresh(tmp_path / "model")
    assert refusals(findings) == []
    # Ops and two loaders, eleven of each signature that answers digits, ten of the other; none twice.
    assert len({(finding.metric, finding.slice) for finding in findings}) == len(findings) == 3 + 3 * 11 + 10


def test_a_custom_op(good_export: Path, check_afresh: Check, edit_export: EditExport) -> None:
    def edit(graph: MetaGraphDef) -> None:
        functions = graph.graph_def.library.function
        next(node for function in functions for node in function.node_def if node.op == "Softmax").op = "FancySoftmax"

    (refusal,) = (finding for finding in check_afresh(edit_export(good_export, edit)) if not finding.passed)
    assert (refusal.metric, refusal.slice, refusal.reason) == (
        "core ops",
        "export",
        "TF Serving does not have FancySoftmax",
    )


def test_a_call_into_python(tiny_model: Any, save_export: Save, check_here: Check) -> None:
    class Calling(tiny_model):
        def logits(self, pixels: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(
                tf.numpy_function(lambda values: values, [super().logits(pixels)], tf.float32), [None, 10]
            )

    (refusal,) = (finding for finding in check_here(save_export(Calling())) if not finding.passed)
    assert (refusal.metric, refusal.reason) == ("core ops", "TF Serving does not have PyFunc")


def test_a_signature_that_lacks_an_output(tiny_model: Any, save_export: Save, check_here: Check) -> None:
    class Lacking(tiny_model):
        def from_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            return {name: values for name, values in super().from_pixels(image).items() if name != "confidence"}

    findings = check_here(save_export(Lacking()))
    (refusal,) = (finding for finding in findings if not finding.passed)
    assert (refusal.metric, refusal.slice) == ("signature", "pixels")
    assert refusal.reason == "it lacks the output 'confidence', float32[n]"
    assert {finding.slice for finding in findings if finding.metric == "p99 latency, ms"} == {
        "serving_default",
        "examples",
        "normalize",
    }


def test_what_only_the_python_loader_can_load(digit_answers: DigitAnswers, check_afresh: Check, tmp_path: Path) -> None:
    # keras-team/keras#20096: saved in this way, a Keras 3 model has its variables for Python only.
    signatures = {
        "serving_default": (digit_answers.from_image_bytes, tf.TensorSpec([None], tf.string, name="image_bytes")),
        "pixels": (digit_answers.from_pixels, tf.TensorSpec([None, 28, 28], tf.float32, name="image")),
        "examples": (digit_answers.from_examples, tf.TensorSpec([None], tf.string, name="examples")),
        "normalize": (digit_answers.normalized, tf.TensorSpec([None], tf.string, name="image_bytes")),
    }
    functions = {name: tf.function(ask, input_signature=[spec]) for name, (ask, spec) in signatures.items()}
    tf.saved_model.save(digit_answers, str(tmp_path / "model"), signatures=functions)
    refused = [finding for finding in check_afresh(tmp_path / "model") if not finding.passed]
    asking = [name for name in signatures if name != "normalize"]
    assert [(finding.metric, finding.slice) for finding in refused] == [("good request", name) for name in asking]
    variables = {variable.path for variable in digit_answers.model.variables}
    for finding in refused:
        error, _, variable = finding.reason.partition(": Could not find variable ")
        assert error == "FailedPreconditionError"
        assert variable in variables


def test_a_signature_that_fails_on_every_request(
    tiny_model: Any, save_export: Save, check_here: Check, refusals: Refusals
) -> None:
    class Failing(tiny_model):
        def from_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([tf.debugging.assert_negative(tf.size(image), message="out of ink")]):
                return super().from_pixels(tf.identity(image))

    findings = check_here(save_export(Failing()))
    assert refusals(findings) == [("good request", "pixels")]
    assert [finding.slice for finding in findings if finding.metric == "same as in Python"] == [
        "serving_default",
        "examples",
        "normalize",
    ]


def test_without_the_gated_signature_nothing_is_compared_with_it(
    tiny_model: Any, save_export: Save, check_here: Check, refusals: Refusals
) -> None:
    class Lacking(tiny_model):
        def from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return {name: values for name, values in super().from_examples(examples).items() if name != "status"}

    findings = check_here(save_export(Lacking()))
    assert refusals(findings) == [("signature", "examples")]
    assert not [finding for finding in findings if finding.metric == "digits as by examples"]


def test_one_signature_that_answers_something_else(
    tiny_model: Any, save_export: Save, check_here: Check, refusals: Refusals
) -> None:
    class Upside(tiny_model):
        def from_image_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            answers = super().from_image_bytes(image_bytes)
            probabilities = tf.reverse(answers["probabilities"], [-1])
            return {**answers, "probabilities": probabilities, "digit": tf.argmax(probabilities, axis=-1)}

    assert refusals(check_here(save_export(Upside()))) == [("digits as by examples", "serving_default")]


def test_probabilities_that_are_no_numbers(
    tiny_model: Any, save_export: Save, check_here: Check, refusals: Refusals
) -> None:
    class Dividing(tiny_model):
        def from_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            answers = super().from_pixels(image)
            return {**answers, "probabilities": answers["probabilities"] * tf.math.log(-1.0)}

    findings = check_here(save_export(Dividing()))
    assert refusals(findings) == [("sum of probabilities, less one", "pixels")]


def test_answers_that_depend_on_the_other_images_of_a_batch(
    tiny_model: Any, save_export: Save, check_here: Check, refusals: Refusals
) -> None:
    class Normalizing(tiny_model):
        # What a batch normalization does that still thinks it is being trained.
        def logits(self, pixels: tf.Tensor) -> tf.Tensor:
            logits = super().logits(pixels)
            return logits - tf.reduce_mean(logits, axis=0)

    findings = check_here(save_export(Normalizing()))
    assert refusals(findings) == [("one image alone", name) for name in ("serving_default", "pixels", "examples")]


def test_an_image_of_another_size_that_is_answered(
    tiny_model: Any, save_export: Save, check_here: Check, refusals: Refusals
) -> None:
    class Careless(tiny_model):
        def from_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.answer(tf.image.resize(image[..., tf.newaxis], (28, 28))[..., 0])

    findings = check_here(save_export(Careless()))
    assert refusals(findings) == [("malformed request", "pixels")]
    (refusal,) = (finding for finding in findings if not finding.passed)
    assert refusal.reason.startswith("27 rows got an answer, expected an error; 27 columns got an answer")


def test_an_empty_batch_that_fails(tiny_model: Any, save_export: Save, check_here: Check, refusals: Refusals) -> None:
    class Counting(tiny_model):
        def answer(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(pixels)[0])]):
                return super().answer(tf.identity(pixels))

    findings = check_here(save_export(Counting()))
    assert refusals(findings) == [("empty batch", name) for name in ("serving_default", "pixels", "examples")]


def test_an_export_that_never_answers(
    tiny_model: Any, save_export: Save, images: np.ndarray, refusals: Refusals, tmp_path: Path
) -> None:
    class Endless(tiny_model):
        def answer(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            forever = tf.while_loop(lambda step: step >= 0, lambda step: (step + 1) % 7, [0])
            return super().answer(pixels + tf.cast(forever[0], tf.float32))

    limits = ServingLimits(num_requests=8, huge_batch=20, timeout_s=12)
    findings = check_export(str(save_export(Endless())), images, limits, tmp_path / "log")
    (refusal,) = (finding for finding in findings if not finding.passed)
    assert refusal.metric == "fresh process"
    assert refusal.reason.startswith("it had not ended after 12 s; its last work was: ")


def test_an_export_that_kills_its_process(tiny_model: Any, save_export: Save, check_afresh: Check) -> None:
    class Deadly(tiny_model):
        def from_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="out of ink")]):
                return super().from_pixels(tf.identity(image))

    (refusal,) = (finding for finding in check_afresh(save_export(Deadly())) if not finding.passed)
    assert (refusal.metric, refusal.slice) == ("fresh process", "pixels")
    assert refusal.reason == (
        "it was ended by SIGABRT: Abort_op intentional failure; out of ink; its last work was: good request"
    )


def test_a_folder_without_an_export(check_afresh: Check, tmp_path: Path) -> None:
    (refusal,) = check_afresh(tmp_path)
    assert (refusal.metric, refusal.reason) == ("SavedModel", f"there is no {tmp_path}/saved_model.pb")


def test_an_export_without_its_variables(good_export: Path, check_here: Check, tmp_path: Path) -> None:
    model = shutil.copytree(good_export, tmp_path / "model", ignore=shutil.ignore_patterns("variables*"))
    (refusal,) = (finding for finding in check_here(model) if not finding.passed)
    assert refusal.metric == "session-based loader"


def test_what_the_python_loader_cannot_load(good_export: Path, check_here: Check, edit_export: EditExport) -> None:
    def edit(graph: MetaGraphDef) -> None:
        variables = (node.variable for node in graph.object_graph_def.nodes if node.WhichOneof("kind") == "variable")
        next(variables).dtype = 99

    findings = check_here(edit_export(good_export, edit))
    (refusal,) = (finding for finding in findings if not finding.passed)
    assert (refusal.metric, refusal.slice, refusal.value) == ("Python loader", "export", "refused")
    assert refusal.reason.startswith("TypeError: ")
    assert {finding.slice for finding in findings if finding.metric == "p99 latency, ms"} == set(SIGNATURES)
