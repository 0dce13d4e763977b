"""From the answers of one signature to findings."""

from collections.abc import Iterator, Sequence

import numpy as np

from components.serving_check.answer_comparison import Outputs, largest_difference, mismatch, misshapen
from components.serving_check.contract import DIGIT, PROBABILITIES
from components.serving_check.exchange import Answer, Kind
from components.serving_check.limits import ServingLimits
from components.verdict import Finding

_ERRORS_OF_A_REQUEST = frozenset({"InvalidArgumentError", "OutOfRangeError", "DataLossError"})
"""What TF Serving answers as a mistake of the client; any other error is one of the server."""


def judge_answers(
    signature: str,
    answers: Sequence[Answer],
    expected: Outputs,
    gated_digits: np.ndarray,
    limits: ServingLimits,
) -> list[Finding]:
    """Judges all answers of one signature.

    Args:
        signature: Its name.
        answers: What it answered in the fresh process: all, or an error to the good request and nothing else.
        expected: What the Python loader answers to the good request.
        gated_digits: int64[n], what the signature that the Evaluator looks at answers to the same images.
        limits: What the answers must keep.

    Returns:
        A finding per check; only one where the good request was not answered.
    """
    of_kind = {kind: [answer for answer in answers if answer.kind == kind] for kind in Kind}
    (good,) = of_kind[Kind.GOOD]
    unanswered = _error(good) if good.error else misshapen(good.outputs, len(gated_digits))
    if unanswered:
        return [Finding(Kind.GOOD, signature, passed=False, reason=unanswered)]
    (alone,) = of_kind[Kind.ALONE]
    first = _rows(good.outputs, 1)
    return [
        _judge_equality("same as in Python", signature, [good], expected, limits.tolerance),
        _judge_probabilities(signature, good.outputs[PROBABILITIES], limits.tolerance),
        _judge_agreement(signature, good.outputs[DIGIT], gated_digits, limits.min_agreement),
        _judge_equality(Kind.ALONE, signature, [alone], first, limits.tolerance),
        _judge_size(signature, of_kind[Kind.EMPTY], _rows(good.outputs, 0), limits.tolerance),
        _judge_size(signature, of_kind[Kind.HUGE], _rows(good.outputs, limits.huge_batch), limits.tolerance),
        _judge_malformed(signature, of_kind[Kind.MALFORMED]),
        # It is the same request again: what was wrong with it before is no flaw of this one.
        _judge_equality(Kind.AFTERWARDS, signature, of_kind[Kind.AFTERWARDS], alone.outputs or first, limits.tolerance),
        *_judge_latency(signature, of_kind[Kind.LATENCY], limits.max_latency_ms),
    ]


def _judge_equality(
    metric: str, signature: str, answers: Sequence[Answer], expected: Outputs, tolerance: float
) -> Finding:
    reasons = [_reason(answer, expected, tolerance) for answer in answers]
    differences = [largest_difference(answer.outputs, expected) for answer in answers if not answer.error]
    return Finding(
        metric,
        signature,
        passed=not any(reasons),
        reason=next(filter(None, reasons), ""),
        value=_finite(max(differences, default=np.inf)),
        upper_bound=tolerance,
    )


def _judge_size(signature: str, answers: Sequence[Answer], expected: Outputs, tolerance: float) -> Finding:
    (answer,) = answers
    reason = _reason(answer, expected, tolerance)
    return Finding(
        answer.kind,
        signature,
        passed=not reason,
        reason=reason,
        value="an error" if answer.error else f"{len(answer.outputs[PROBABILITIES])} answers",
        expected=f"{len(expected[PROBABILITIES])} answers",
    )


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


def _reason(answer: Answer, expected: Outputs, tolerance: float) -> str:
    return _error(answer) if answer.error else mismatch(answer.outputs, expected, tolerance)


def _error(answer: Answer) -> str:
    return f"{answer.error}: {answer.message}"


def _rows(outputs: Outputs, num_rows: int) -> dict[str, np.ndarray]:
    """Returns the answers to as many images, repeated in turn as the huge batch repeats the images."""
    return {name: np.resize(values, (num_rows, *values.shape[1:])) for name, values in outputs.items()}


def _finite(value: float) -> float | str:
    # JSON has no other numbers.
    return value if np.isfinite(value) else "not finite"
