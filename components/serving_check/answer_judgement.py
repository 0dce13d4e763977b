"""From the answers of an export to findings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np

from components.features import MAX_PIXEL
from components.serving_check.answer_comparison import Outputs, compare, misshapen
from components.serving_check.exchange import Answer, Kind, Report
from components.serving_check.limits import ServingLimits
from components.verdict import Finding
from registry.signatures import DIGIT_OUTPUT, EXAMPLES, NORMALIZED_IMAGE_OUTPUT, PROBABILITIES_OUTPUT

_SAME_AS_IN_PYTHON = "same as in Python"

_ERRORS_OF_A_REQUEST = frozenset({"InvalidArgumentError", "OutOfRangeError", "DataLossError"})
"""What TF Serving answers as a mistake of the client; any other error is one of the server."""


def judge_answers(report: Report, num_images: int, limits: ServingLimits) -> list[Finding]:
    """Judges all answers.

    Args:
        report: Of a process that ended well: of each signature the answers to all requests, or an error to the good
            request and nothing else.
        num_images: How many images were in the good request.
        limits: What the answers must keep.

    Returns:
        A finding per signature and check; only one for a signature that did not answer the good request. What would
        be compared with an answer that is not there is left out.
    """
    python = {answer.signature: answer for answer in report.python_answers}
    gated = python.get(EXAMPLES)
    gated_digits = gated.outputs[DIGIT_OUTPUT] if gated and not _unanswered(gated, num_images) else None
    findings: list[Finding] = []
    for signature, answers in groupby(report.answers, key=lambda answer: answer.signature):
        of_kind = _by_kind(answers)
        (good,) = of_kind[Kind.GOOD]
        reason = _unanswered(good, num_images)
        if reason:
            findings.append(Finding(Kind.GOOD, signature, passed=False, reason=reason))
            continue
        findings += _judge_references(good, python.get(signature), gated_digits, limits)
        findings += _judge_requests(signature, of_kind, limits)
    return findings


def _by_kind(answers: Iterable[Answer]) -> dict[Kind, list[Answer]]:
    of_kind: dict[Kind, list[Answer]] = {kind: [] for kind in Kind}
    for answer in answers:
        of_kind[answer.kind].append(answer)
    return of_kind


def _unanswered(good: Answer, num_images: int) -> str:
    return _error(good) if good.error else misshapen(good.signature, good.outputs, num_images)


def _judge_references(
    good: Answer, python: Answer | None, gated_digits: np.ndarray | None, limits: ServingLimits
) -> Iterator[Finding]:
    if python and python.error:
        yield Finding(_SAME_AS_IN_PYTHON, good.signature, passed=False, reason=f"in Python it was {_error(python)}")
    elif python:
        tolerance = _tolerance(good.outputs, limits)
        yield _judge_equality(_SAME_AS_IN_PYTHON, good.signature, [good], python.outputs, tolerance)
    if gated_digits is not None and DIGIT_OUTPUT in good.outputs:
        yield _judge_agreement(good.signature, good.outputs[DIGIT_OUTPUT], gated_digits, limits.min_agreement)


def _judge_requests(signature: str, of_kind: Mapping[Kind, Sequence[Answer]], limits: ServingLimits) -> list[Finding]:
    (good,), (alone,) = of_kind[Kind.GOOD], of_kind[Kind.ALONE]
    first, tolerance = _rows(good.outputs, 1), _tolerance(good.outputs, limits)
    return [
        _judge_values(signature, good.outputs, tolerance),
        _judge_equality(Kind.ALONE, signature, [alone], first, tolerance),
        _judge_size(signature, of_kind[Kind.EMPTY], _rows(good.outputs, 0), tolerance),
        _judge_size(signature, of_kind[Kind.HUGE], _rows(good.outputs, limits.huge_batch), tolerance),
        _judge_malformed(signature, of_kind[Kind.MALFORMED]),
        # It is the same request again: what was wrong with it before is no flaw of this one.
        _judge_equality(Kind.AFTERWARDS, signature, of_kind[Kind.AFTERWARDS], alone.outputs or first, tolerance),
        *_judge_latency(signature, of_kind[Kind.LATENCY], limits.max_latency_ms),
    ]


def _judge_equality(
    metric: str, signature: str, answers: Sequence[Answer], expected: Outputs, tolerance: float
) -> Finding:
    compared = [_compare(answer, expected, tolerance) for answer in answers]
    reason = next((reason for _, reason in compared if reason), "")
    largest = max(difference for difference, _ in compared)
    return Finding(metric, signature, not reason, reason, value=_finite(largest), upper_bound=tolerance)


def _judge_size(signature: str, answers: Sequence[Answer], expected: Outputs, tolerance: float) -> Finding:
    (answer,) = answers
    _, reason = _compare(answer, expected, tolerance)
    return Finding(
        answer.kind,
        signature,
        passed=not reason,
        reason=reason,
        value="an error" if answer.error else f"{_num_rows(answer.outputs)} answers",
        expected=f"{_num_rows(expected)} answers",
    )


def _judge_values(signature: str, outputs: Outputs, tolerance: float) -> Finding:
    if PROBABILITIES_OUTPUT in outputs:
        return _judge_probabilities(signature, outputs[PROBABILITIES_OUTPUT], tolerance)
    return _judge_pixels(signature, outputs[NORMALIZED_IMAGE_OUTPUT], tolerance)


def _judge_pixels(signature: str, images: np.ndarray, tolerance: float) -> Finding:
    largest = float(np.max(images))
    # What is no number is not in the range, either.
    outside = np.argwhere(~((images >= -tolerance) & (images <= MAX_PIXEL + tolerance)))
    reason = ""
    if outside.size:
        image, row, column = outside[0]
        pixel = images[image, row, column]
        reason = f"pixel {row}, {column} of image {image} is {pixel:.6g}, expected 0 to {MAX_PIXEL}"
    return Finding("largest pixel", signature, not reason, reason, value=_finite(largest), upper_bound=MAX_PIXEL)


def _judge_probabilities(signature: str, probabilities: np.ndarray, tolerance: float) -> Finding:
    excess = float(np.max(np.abs(probabilities.sum(axis=-1, dtype=np.float64) - 1)))
    # What is no number is not between zero and one, either.
    outside = np.argwhere(~((probabilities >= 0) & (probabilities <= 1 + tolerance)))
    if outside.size:
        image, digit = outside[0]
        reason = f"that of digit {digit} for image {image} is {probabilities[image, digit]:.6g}, expected 0 to 1"
    else:
        reason = "" if excess <= tolerance else "they do not sum to one"
    return Finding(
        "sum of probabilities, less one", signature, not reason, reason, value=_finite(excess), upper_bound=tolerance
    )


def _judge_agreement(signature: str, digits: np.ndarray, gated_digits: np.ndarray, least: float) -> Finding:
    share = float(np.mean(digits == gated_digits))
    differing = np.count_nonzero(digits != gated_digits)
    reason = "" if share >= least else f"{differing} of {len(digits)} digits are not those that `examples` gives"
    return Finding("digits as by examples", signature, not reason, reason, value=share, lower_bound=least)


def _judge_malformed(signature: str, answers: Sequence[Answer]) -> Finding:
    answered = [answer.name for answer in answers if not answer.error]
    broken = [answer for answer in answers if answer.error and answer.error not in _ERRORS_OF_A_REQUEST]
    reasons = [f"{name} got an answer, expected an error" for name in answered]
    reasons += [f"{answer.name} was an error of the server: {_error(answer)}" for answer in broken]
    refused = len(answers) - len(answered) - len(broken)
    return Finding(
        Kind.MALFORMED,
        signature,
        passed=not reasons,
        reason="; ".join(reasons),
        value=f"{refused} refused",
        expected=f"{len(answers)} refused",
    )


def _judge_latency(signature: str, answers: Sequence[Answer], longest: float) -> Iterator[Finding]:
    (answer,) = answers
    if answer.error:
        yield Finding(Kind.LATENCY, signature, passed=False, reason=_error(answer))
        return
    median, tail = np.percentile(answer.milliseconds, [50, 99])
    yield Finding("median latency, ms", signature, passed=True, value=float(median))
    reason = "" if tail <= longest else "one image takes too long"
    yield Finding("p99 latency, ms", signature, not reason, reason, value=float(tail), upper_bound=longest)


def _compare(answer: Answer, expected: Outputs, tolerance: float) -> tuple[float, str]:
    return (np.inf, _error(answer)) if answer.error else compare(answer.outputs, expected, tolerance)


def _error(answer: Answer) -> str:
    return f"{answer.error}: {answer.message}"


def _tolerance(outputs: Outputs, limits: ServingLimits) -> float:
    """Returns how far a number may be off: the limit is stated for probabilities, and images have another range."""
    return limits.tolerance * MAX_PIXEL if NORMALIZED_IMAGE_OUTPUT in outputs else limits.tolerance


def _num_rows(outputs: Outputs) -> int:
    return len(next(iter(outputs.values())))


def _rows(outputs: Outputs, num_rows: int) -> dict[str, np.ndarray]:
    """Returns the answers to as many images, repeated in turn as the huge batch repeats the images."""
    return {name: np.resize(values, (num_rows, *values.shape[1:])) for name, values in outputs.items()}


def _finite(value: float) -> float | str:
    # JSON has no other numbers.
    return value if np.isfinite(value) else "not finite"
