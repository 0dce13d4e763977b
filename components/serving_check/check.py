"""Checks the signatures of an export against the contract, and the outputs of a fresh process against the limits."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from components.features import MAX_PIXEL, Contract
from components.intervals import images_needed, perfect_share, share_interval
from components.serving_check.limits import ServingLimits
from components.serving_check.probe import Answer, Plan, Report, run_probe
from components.serving_check.requests import Kind, Sample, contract_signatures
from components.verdict import Finding
from registry.signatures import (
    CLASSES_OUTPUT,
    EXAMPLES,
    INPUTS,
    LABEL_OUTPUT,
    NORMALIZED_IMAGE_OUTPUT,
    PROBABILITIES_OUTPUT,
    SERVING_DEFAULT,
    Signature,
    TensorForm,
)

Outputs = Mapping[str, np.ndarray]
"""The outputs of the contract by name, one row per image."""

MEDIAN_LATENCY, TAIL_LATENCY = "median latency, ms", "p99 latency, ms"
"""Metrics of the findings about the latency of one image."""

_EXPORT_SLICE = "export"
"""Slice of the findings about the whole export."""

_TOLERANCE = "serving_check.tolerance"

_CLIENT_ERRORS = ("InvalidArgumentError", "OutOfRangeError", "DataLossError")
"""Errors that TF Serving reports as mistakes of the client; all others are failures of the server."""

logger = logging.getLogger(__name__)


class ExportError(ValueError):
    """A folder does not hold a SavedModel that can be served."""


@dataclass(frozen=True)
class Export:
    """The description of a SavedModel: all ops that it needs, and its signatures of the contract."""

    ops: frozenset[str]
    signatures: Mapping[str, Signature]


def check_export(
    model_path: str,
    contract: Contract,
    sample: Sample,
    labels: Sequence[bytes],
    min_accuracy: float,
    limits: ServingLimits,
    log_file: Path,
) -> list[Finding]:
    """Checks that TF Serving could load an export and that its outputs are right.

    Args:
        model_path: Folder of the SavedModel.
        contract: Classes, and size of the images.
        sample: The images to send.
        labels: Names of the classes of the files in the sample.
        min_accuracy: Minimum accuracy on these files.
        limits: The requests and the limits of their answers.
        log_file: Where to write the output of the fresh process.

    Returns:
        A finding per check and signature. A refusal skips the checks that depend on it, so that each flaw is
        reported once.
    """
    try:
        export = read_export(model_path)
    except ExportError as error:
        return [Finding("SavedModel", _EXPORT_SLICE, passed=False, reason=str(error))]
    findings = check_signatures(export.signatures, contract)
    plan = Plan(
        model_path, sorted(export.ops), [finding.slice for finding in findings if finding.passed], limits.huge_batch
    )
    report = run_probe(plan, sample, limits.timeout_s, log_file)
    findings += check_process(report, len(plan.ops))
    # A process that failed has not sent all requests.
    if report.failure:
        return findings
    latencies = [answer.milliseconds for answer in report.answers if answer.kind == Kind.LATENCY and not answer.error]
    if latencies:
        median = float(np.median(np.concatenate(latencies)))
        logger.info("session-based loader: %d signatures, median %.1f ms", len(latencies), median)
    findings += check_answers(report.answers, contract, limits)
    return findings + check_accuracy(report.answers, labels, min_accuracy)


def read_export(model_path: str) -> Export:
    """Reads the description of a SavedModel without loading it, which works even if it cannot be loaded.

    Args:
        model_path: Folder of the SavedModel.

    Raises:
        ExportError: There is no SavedModel, it is damaged, or it has no graph to serve.
    """
    file = os.path.join(model_path, tf.saved_model.SAVED_MODEL_FILENAME_PB)
    if not tf.io.gfile.exists(file):
        raise ExportError(f"there is no {file}")
    try:
        with tf.io.gfile.GFile(file, "rb") as content:
            saved_model = SavedModel.FromString(content.read())
    except DecodeError as error:
        raise ExportError(f"{file} is damaged: {error}") from error
    # TF Serving looks for exactly this set of tags.
    served = [graph for graph in saved_model.meta_graphs if set(graph.meta_info_def.tags) == {tf.saved_model.SERVING}]
    if not served:
        tags = [sorted(graph.meta_info_def.tags) for graph in saved_model.meta_graphs]
        raise ExportError(f"{file} has no graph tagged {[tf.saved_model.SERVING]}, only {tags}")
    signatures = {
        name: Signature(_forms(definition.inputs), _forms(definition.outputs))
        for name, definition in served[0].signature_def.items()
        if name in INPUTS
    }
    return Export(_graph_ops(saved_model), signatures)


def check_signatures(signatures: Mapping[str, Signature], contract: Contract) -> list[Finding]:
    """Compares the signatures of an export with those of a contract, one finding per required signature."""
    required = contract_signatures(contract)
    breaches = {name: _breach(expected, signatures.get(name)) for name, expected in required.items()}
    return [Finding("signature", name, passed=not reason, reason=reason) for name, reason in breaches.items()]


def check_process(report: Report, num_ops: int) -> list[Finding]:
    """Checks the ops, both loaders and the exit of the fresh process, up to the point that it reached.

    Args:
        report: What the process reported.
        num_ops: Number of ops that the export needs.
    """
    findings = []
    if report.foreign_ops is not None:
        foreign = ", ".join(report.foreign_ops)
        findings.append(
            Finding(
                "core ops",
                _EXPORT_SLICE,
                passed=not foreign,
                reason=foreign and f"TF Serving does not have {foreign}",
                value=f"{num_ops - len(report.foreign_ops)} of {num_ops}",
                expected="all",
            )
        )
    for loader, error in {"session-based loader": report.load_error, "Python loader": report.python_load_error}.items():
        if error is not None:
            value = "refused" if error else "loaded"
            findings.append(Finding(loader, _EXPORT_SLICE, not error, error, value=value, expected="loaded"))
    if report.failure:
        reason = f"{report.failure}; it was busy with: {report.doing}"
        findings.append(Finding("fresh process", report.doing_on or _EXPORT_SLICE, passed=False, reason=reason))
    return findings


def check_answers(answers: Sequence[Answer], contract: Contract, limits: ServingLimits) -> list[Finding]:
    """Checks the answers of a process that finished.

    Args:
        answers: The answers of each signature to all requests, or only an error to the good request.
        contract: Classes, and size of the images.
        limits: The limits of the answers.

    Returns:
        A finding per signature and check, or only one for a signature that failed the good request.
    """
    reference = next((answer for answer in answers if (answer.signature, answer.kind) == (EXAMPLES, Kind.PYTHON)), None)
    gated_labels = reference.outputs[LABEL_OUTPUT] if reference and not _flaw(reference, contract) else None
    findings: list[Finding] = []
    for good in (answer for answer in answers if answer.kind == Kind.GOOD):
        reason = _flaw(good, contract)
        if reason:
            findings.append(Finding(Kind.GOOD, good.signature, passed=False, reason=reason))
        else:
            others = [answer for answer in answers if answer.signature == good.signature]
            findings += _check_signature(good, others, gated_labels, contract.classes, limits)
    return findings


def check_accuracy(answers: Sequence[Answer], labels: Sequence[bytes], min_accuracy: float) -> list[Finding]:
    """Checks the accuracy on image files: the whole 95 % confidence interval must meet the minimum.

    Args:
        answers: Those of the kind `SENT` count, in the order of the images; an error is a wrong answer.
        labels: Names of the classes of the images.
        min_accuracy: Minimum accuracy.

    Returns:
        One finding, or none if no images were sent.
    """
    sent = [answer for answer in answers if answer.kind == Kind.SENT]
    if not sent:
        return []
    errors = [answer.error for answer in sent if answer.error]
    found = np.concatenate([_labels(answer) for answer in sent])
    hits, num_images = int(np.count_nonzero(found == np.array(labels, "S"))), len(labels)
    interval, needed = share_interval(hits, num_images), images_needed(perfect_share, min_accuracy)
    reason = ""
    if interval[0] < min_accuracy and needed and num_images < needed:
        reason = f"too few images: even a perfect model would need {needed}"
    elif interval[0] < min_accuracy:
        reason = f"it may be as low as {interval[0]:.4f}; check that trainer.preparation suits the images"
        if errors:
            reason += f"; {len(errors)} images got an error, such as {errors[0]}"
    finding = Finding(
        "accuracy on image files",
        SERVING_DEFAULT,
        not reason,
        reason,
        value=hits / num_images,
        interval=interval,
        lower_bound=min_accuracy,
        setting="evaluation.min_accuracy - serving_check.max_accuracy_drop",
    )
    return [finding]


def _labels(answer: Answer) -> np.ndarray:
    """Returns one label per image; empty ones after an error, or if there are more or fewer than images."""
    labels = answer.outputs.get(LABEL_OUTPUT)
    if labels is not None and labels.shape == (answer.num_images,):
        return labels
    return np.zeros(answer.num_images, "S")


def _graph_ops(saved_model: SavedModel) -> frozenset[str]:
    ops: set[str] = set()
    for meta_graph in saved_model.meta_graphs:
        library = meta_graph.graph_def.library.function
        ops.update(node.op for node in meta_graph.graph_def.node)
        ops.update(node.op for function in library for node in function.node_def)
        # A node may call a function by its name as if it were an op.
        ops.difference_update(function.signature.name for function in library)
    return frozenset(ops)


def _forms(tensors: Mapping[str, Any]) -> dict[str, TensorForm]:
    forms = {}
    for name, tensor in tensors.items():
        shape = tf.TensorShape(tensor.tensor_shape)
        dtype = tf.dtypes.as_dtype(tensor.dtype).name
        forms[name] = TensorForm(dtype, None if shape.rank is None else tuple(shape.as_list()))
    return forms


def _breach(expected: Signature, found: Signature | None) -> str:
    if found is None:
        return "there is no such signature"
    breaches = [
        f"the {kind} {name!r} is {tensors.get(name, 'missing')}, expected {form}"
        for kind, tensors, forms in (
            ("input", found.inputs, expected.inputs),
            ("output", found.outputs, expected.outputs),
        )
        for name, form in forms.items()
        if tensors.get(name) != form
    ]
    breaches += [f"it also requires the input {name!r}" for name in found.inputs if name not in expected.inputs]
    return "; ".join(breaches)


def _flaw(good: Answer, contract: Contract) -> str:
    """Returns why an answer to the good request cannot be compared with others; empty if it can."""
    if good.error:
        return good.error
    for name, form in contract_signatures(contract)[good.signature].outputs.items():
        expected = [good.num_images if size is None else size for size in form.shape or ()]
        if list(good.outputs[name].shape) != expected:
            return f"{name} has the shape {list(good.outputs[name].shape)}, expected {expected}"
    return ""


def _check_signature(
    good: Answer,
    answers: Sequence[Answer],
    gated_labels: np.ndarray | None,
    classes: Sequence[str],
    limits: ServingLimits,
) -> Iterator[Finding]:
    signature, outputs = good.signature, good.outputs
    of_kind = {kind: [answer for answer in answers if answer.kind == kind] for kind in Kind}
    (alone,), (empty,), (huge,), (timed,) = (
        of_kind[kind] for kind in (Kind.ALONE, Kind.EMPTY, Kind.HUGE, Kind.LATENCY)
    )
    # The limit is meant for probabilities; images have another range.
    tolerance = limits.tolerance * MAX_PIXEL if NORMALIZED_IMAGE_OUTPUT in outputs else limits.tolerance
    for python in of_kind[Kind.PYTHON]:
        if python.error:
            reason = f"the Python loader fails: {python.error}"
            yield Finding(Kind.PYTHON, signature, passed=False, reason=reason)
        else:
            yield _check_equality(Kind.PYTHON, [good], python.outputs, tolerance)
    if gated_labels is not None and LABEL_OUTPUT in outputs:
        yield _check_agreement(signature, outputs[LABEL_OUTPUT], gated_labels, limits.min_agreement)
    if PROBABILITIES_OUTPUT in outputs:
        yield _check_classes(signature, outputs[CLASSES_OUTPUT], classes)
        yield _check_probabilities(signature, outputs[PROBABILITIES_OUTPUT], classes, tolerance)
    else:
        yield _check_pixels(signature, outputs[NORMALIZED_IMAGE_OUTPUT], tolerance)
    yield _check_equality(Kind.ALONE, [alone], _rows(outputs, 1), tolerance)
    yield _check_size(empty, _rows(outputs, 0), tolerance)
    yield _check_size(huge, _rows(outputs, huge.num_images), tolerance)
    yield _check_malformed(signature, of_kind[Kind.MALFORMED])
    # The request is the single image again, so only a change after a malformed request is a flaw.
    expected = alone.outputs or _rows(outputs, 1)
    yield _check_equality(Kind.AFTERWARDS, of_kind[Kind.AFTERWARDS], expected, tolerance)
    yield from _check_latency(timed, limits.max_latency_ms)


def _check_equality(metric: str, answers: Sequence[Answer], expected: Outputs, tolerance: float) -> Finding:
    compared = [_compare(answer, expected, tolerance) for answer in answers]
    reason = next((reason for _, reason in compared if reason), "")
    largest = max(difference for difference, _ in compared)
    return Finding(
        metric,
        answers[0].signature,
        not reason,
        reason,
        value=_finite(largest),
        upper_bound=tolerance,
        setting=_TOLERANCE,
    )


def _check_size(answer: Answer, expected: Outputs, tolerance: float) -> Finding:
    _, reason = _compare(answer, expected, tolerance)
    return Finding(
        answer.kind,
        answer.signature,
        passed=not reason,
        reason=reason,
        value="an error" if answer.error else _num_answers(answer.outputs),
        expected=_num_answers(expected),
    )


def _check_agreement(signature: str, labels: np.ndarray, gated_labels: np.ndarray, least: float) -> Finding:
    share = float(np.mean(labels == gated_labels))
    differing = np.count_nonzero(labels != gated_labels)
    reason = "" if share >= least else f"{differing} of {len(labels)} labels differ from those of `{EXAMPLES}`"
    return Finding(
        "labels as by examples",
        signature,
        not reason,
        reason,
        value=share,
        lower_bound=least,
        setting="serving_check.min_agreement",
    )


def _check_classes(signature: str, found: np.ndarray, classes: Sequence[str]) -> Finding:
    expected = np.broadcast_to([name.encode() for name in classes], found.shape)
    wrong = np.argwhere(found != expected)
    reason = ""
    if wrong.size:
        image, number = wrong[0]
        reason = f"class {number} of image {image} is {_text(found[image, number])}, expected {classes[number]}"
    return Finding("classes of the schema", signature, not reason, reason)


def _check_probabilities(
    signature: str, probabilities: np.ndarray, classes: Sequence[str], tolerance: float
) -> Finding:
    excess = float(np.max(np.abs(probabilities.sum(axis=-1, dtype=np.float64) - 1)))
    outside = _first_outside(probabilities, 0, 1 + tolerance)
    reason = "" if excess <= tolerance else "they do not sum to 1"
    if outside:
        image, number = outside
        reason = f"that of class {classes[number]} for image {image} is {probabilities[outside]:.6g}, expected 0 to 1"
    metric = "sum of probabilities, less one"
    return Finding(
        metric, signature, not reason, reason, value=_finite(excess), upper_bound=tolerance, setting=_TOLERANCE
    )


def _check_pixels(signature: str, images: np.ndarray, tolerance: float) -> Finding:
    outside = _first_outside(images, -tolerance, MAX_PIXEL + tolerance)
    reason = ""
    if outside:
        image, row, column, *_ = outside
        reason = f"pixel {row}, {column} of image {image} is {images[outside]:.6g}, expected 0 to {MAX_PIXEL}"
    largest = _finite(float(np.max(images)))
    return Finding("largest pixel", signature, not reason, reason, value=largest, upper_bound=MAX_PIXEL)


def _first_outside(values: np.ndarray, low: float, high: float) -> tuple[int, ...]:
    """Returns the index of the first value outside a range or NaN; empty if there is none."""
    outside = np.argwhere(~((values >= low) & (values <= high)))
    return tuple(outside[0]) if outside.size else ()


def _check_malformed(signature: str, answers: Sequence[Answer]) -> Finding:
    accepted = [f"{answer.name} got an answer, expected an error" for answer in answers if not answer.error]
    broken = [
        f"{answer.name} was an error of the server: {answer.error}"
        for answer in answers
        if answer.error and answer.error.partition(":")[0] not in _CLIENT_ERRORS
    ]
    reasons = accepted + broken
    return Finding(
        Kind.MALFORMED,
        signature,
        passed=not reasons,
        reason="; ".join(reasons),
        value=f"{len(answers) - len(reasons)} refused",
        expected=f"{len(answers)} refused",
    )


def _check_latency(answer: Answer, longest: float) -> Iterator[Finding]:
    if answer.error:
        yield Finding(Kind.LATENCY, answer.signature, passed=False, reason=answer.error)
        return
    median, tail = np.percentile(answer.milliseconds, [50, 99])
    yield Finding(MEDIAN_LATENCY, answer.signature, passed=True, value=float(median))
    reason = "" if tail <= longest else "one image takes too long"
    yield Finding(
        TAIL_LATENCY,
        answer.signature,
        not reason,
        reason,
        value=float(tail),
        upper_bound=longest,
        setting="serving_check.max_latency_ms",
    )


def _compare(answer: Answer, expected: Outputs, tolerance: float) -> tuple[float, str]:
    """Compares an answer with the expected one: numbers within the tolerance, strings exactly.

    Returns:
        The largest difference of a number, infinite if the shapes differ or one of two numbers is NaN; and why the
        answer is wrong, empty if it is right.
    """
    if answer.error:
        return np.inf, answer.error
    compared = [
        _compare_output(name, answer.outputs[name], values, tolerance) for name, values in sorted(expected.items())
    ]
    return max(difference for difference, _ in compared), next((reason for _, reason in compared if reason), "")


def _compare_output(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> tuple[float, str]:
    if found.shape != expected.shape:
        return np.inf, f"{name} has the shape {list(found.shape)}, expected {list(expected.shape)}"
    difference, wrong = 0.0, found != expected
    if expected.dtype.kind == "f":
        differences = np.abs(found.astype(np.float64) - expected.astype(np.float64))
        # Equal where both are NaN; the check of the values refuses NaN.
        differences[np.isnan(found) & np.isnan(expected)] = 0
        differences = np.nan_to_num(differences, nan=np.inf)
        difference, wrong = float(differences.max(initial=0)), differences > tolerance
    if not wrong.any():
        return difference, ""
    place = tuple(np.argwhere(wrong)[0])
    return difference, f"{name} of image {place[0]} is {_text(found[place])}, expected {_text(expected[place])}"


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else f"{value:.6g}"


def _rows(outputs: Outputs, num_rows: int) -> dict[str, np.ndarray]:
    """Returns the expected answers to the first images, repeated like the images of the huge batch."""
    return {name: np.resize(values, (num_rows, *values.shape[1:])) for name, values in outputs.items()}


def _num_answers(outputs: Outputs) -> str:
    return f"{len(next(iter(outputs.values())))} answers"


def _finite(value: float) -> float | str:
    # JSON has no other numbers.
    return value if np.isfinite(value) else "not finite"
