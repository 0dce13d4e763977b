"""From answers, made up here, to findings: each flaw is refused for its own reason and for no other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from components.serving_check.answer_judgement import judge_answers
from components.serving_check.exchange import Answer, Kind, Report
from components.serving_check.limits import ServingLimits
from components.verdict import Finding

LIMITS = ServingLimits(huge_batch=9, max_latency_ms=10, min_agreement=0.75)
DIGITS = np.array([3, 1, 4, 1])


def outputs(digits: np.ndarray) -> dict[str, np.ndarray]:
    probabilities = np.full((len(digits), 10), 0.01, np.float32)
    probabilities[np.arange(len(digits)), digits] = 0.91
    status = np.array([b"ok"] * len(digits), object)
    return {
        "probabilities": probabilities,
        "digit": digits,
        "confidence": probabilities.max(axis=-1, initial=0),
        "status": status,
    }


def answers(**changes: Answer) -> list[Answer]:
    """All answers of a good signature, those of the kinds named by `changes` replaced."""
    made = [
        Answer("pixels", Kind.GOOD, "", outputs(DIGITS)),
        Answer("pixels", Kind.ALONE, "", outputs(DIGITS[:1])),
        Answer("pixels", Kind.EMPTY, "", outputs(DIGITS[:0])),
        Answer("pixels", Kind.HUGE, "", outputs(np.resize(DIGITS, 9))),
        Answer("pixels", Kind.MALFORMED, "27 rows", error="InvalidArgumentError", message="wrong shape"),
        Answer("pixels", Kind.AFTERWARDS, "27 rows", outputs(DIGITS[:1])),
        Answer("pixels", Kind.MALFORMED, "27 columns", error="InvalidArgumentError", message="wrong shape"),
        Answer("pixels", Kind.AFTERWARDS, "27 columns", outputs(DIGITS[:1])),
        Answer("pixels", Kind.LATENCY, "", outputs(DIGITS[:1]), milliseconds=(1.0,) * 98 + (9.0, 9.0)),
    ]
    return [changes.get(answer.kind.name, answer) for answer in made]


def in_python(signature: str, given: dict[str, np.ndarray]) -> Answer:
    return Answer(signature, Kind.GOOD, "", given)


def judge(made: list[Answer], expected: Any = None, gated: np.ndarray = DIGITS) -> list[Finding]:
    python = (in_python("pixels", expected or outputs(DIGITS)), in_python("examples", outputs(gated)))
    return judge_answers(Report(answers=tuple(made), python_answers=python), len(DIGITS), LIMITS)


def failed(kind: Kind) -> Answer:
    return Answer("pixels", kind, "", error="InternalError", message="out of paper")


def test_good_answers_pass_and_every_check_is_listed() -> None:
    findings = judge(answers())
    assert all(finding.passed and not finding.reason for finding in findings)
    assert {finding.slice for finding in findings} == {"pixels"}
    assert {finding.metric: (finding.value, finding.bound) for finding in findings} == {
        "same as in Python": (0, "≤ 0.0001"),
        "sum of probabilities, less one": (pytest.approx(0, abs=1e-6), "≤ 0.0001"),
        "digits as by examples": (1, "≥ 0.7500"),
        "one image alone": (0, "≤ 0.0001"),
        "empty batch": ("0 answers", "0 answers"),
        "huge batch": ("9 answers", "9 answers"),
        "malformed request": ("2 refused", "2 refused"),
        "good request after a malformed one": (0, "≤ 0.0001"),
        "median latency, ms": (1, ""),
        "p99 latency, ms": (9, "≤ 10"),
    }


def with_nan(kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    probabilities = kept["probabilities"].copy()
    probabilities[:, 5] = np.nan
    return {**kept, "probabilities": probabilities}


@pytest.mark.parametrize(
    ("changes", "metric", "value", "reason"),
    [
        ({"GOOD": failed(Kind.GOOD)}, "good request", None, "InternalError: out of paper"),
        (
            {"GOOD": Answer("pixels", Kind.GOOD, "", outputs(DIGITS[:1]))},
            "good request",
            None,
            "probabilities has the shape [1, 10], expected [4, 10]",
        ),
        ({"ALONE": failed(Kind.ALONE)}, "one image alone", "not finite", "InternalError: out of paper"),
        (
            {
                "ALONE": Answer("pixels", Kind.ALONE, "", outputs(DIGITS[1:2])),
                "AFTERWARDS": Answer("pixels", Kind.AFTERWARDS, "27 rows", outputs(DIGITS[1:2])),
            },
            "one image alone",
            pytest.approx(0.9),
            "digit of image 0 is 1, expected 3",
        ),
        ({"EMPTY": failed(Kind.EMPTY)}, "empty batch", "an error", "InternalError: out of paper"),
        (
            {"EMPTY": Answer("pixels", Kind.EMPTY, "", outputs(DIGITS[:1]))},
            "empty batch",
            "1 answers",
            "confidence has the shape [1], expected [0]",
        ),
        (
            {"HUGE": Answer("pixels", Kind.HUGE, "", outputs(np.resize(DIGITS, 8)))},
            "huge batch",
            "8 answers",
            "confidence has the shape [8], expected [9]",
        ),
        (
            {"HUGE": Answer("pixels", Kind.HUGE, "", outputs(np.arange(9)))},
            "huge batch",
            "9 answers",
            "digit of image 0 is 0, expected 3",
        ),
        (
            {"MALFORMED": Answer("pixels", Kind.MALFORMED, "27 rows", outputs(DIGITS))},
            "malformed request",
            "0 refused",
            "27 rows got an answer, expected an error; 27 rows got an answer, expected an error",
        ),
        (
            {"MALFORMED": replace(failed(Kind.MALFORMED), name="27 rows")},
            "malformed request",
            "0 refused",
            "27 rows was an error of the server: InternalError: out of paper; "
            "27 rows was an error of the server: InternalError: out of paper",
        ),
        (
            {"AFTERWARDS": Answer("pixels", Kind.AFTERWARDS, "27 rows", outputs(DIGITS[1:2]))},
            "good request after a malformed one",
            pytest.approx(0.9),
            "digit of image 0 is 1, expected 3",
        ),
        (
            {"AFTERWARDS": failed(Kind.AFTERWARDS)},
            "good request after a malformed one",
            "not finite",
            "InternalError: out of paper",
        ),
        ({"LATENCY": failed(Kind.LATENCY)}, "latency", None, "InternalError: out of paper"),
        (
            {"LATENCY": Answer("pixels", Kind.LATENCY, "", milliseconds=(1.0,) * 98 + (11.0, 11.0))},
            "p99 latency, ms",
            pytest.approx(11, abs=0.2),
            "one image takes too long",
        ),
    ],
)
def test_each_flaw_is_refused_alone(changes: dict[str, Answer], metric: str, value: Any, reason: str) -> None:
    (refusal,) = (finding for finding in judge(answers(**changes)) if not finding.passed)
    assert (refusal.metric, refusal.value, refusal.reason) == (metric, value, reason)


def test_answers_unlike_those_of_the_python_loader() -> None:
    (refusal,) = (finding for finding in judge(answers(), outputs(np.array([3, 1, 4, 2]))) if not finding.passed)
    assert (refusal.metric, refusal.reason) == ("same as in Python", "digit of image 3 is 1, expected 2")
    assert refusal.value == pytest.approx(0.9)


def test_probabilities_that_are_no_numbers() -> None:
    made = [replace(answer, outputs=with_nan(answer.outputs)) if answer.outputs else answer for answer in answers()]
    (refusal,) = (finding for finding in judge(made, with_nan(outputs(DIGITS))) if not finding.passed)
    assert (refusal.metric, refusal.value) == ("sum of probabilities, less one", "not finite")
    assert refusal.reason == "that of digit 5 for image 0 is nan, expected 0 to 1"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([-0.1, 1.1] + [0.0] * 8, "that of digit 0 for image 0 is -0.1, expected 0 to 1"),
        ([0.5] + [0.0] * 9, "they do not sum to one"),
    ],
)
def test_probabilities_that_are_none(row: list[float], reason: str) -> None:
    wrong = {**outputs(DIGITS), "probabilities": np.array([row] * 4, np.float32)}
    by_metric = {finding.metric: finding for finding in judge(answers(GOOD=Answer("pixels", Kind.GOOD, "", wrong)))}
    assert by_metric["sum of probabilities, less one"].reason == reason


@pytest.mark.parametrize(("gated", "passed"), [([3, 1, 4, 0], True), ([3, 1, 0, 0], False)])
def test_digits_that_differ_from_those_of_the_gated_signature(gated: list[int], passed: bool) -> None:
    by_metric = {finding.metric: finding for finding in judge(answers(), gated=np.array(gated))}
    finding = by_metric["digits as by examples"]
    assert finding.passed == passed
    assert finding.reason == ("" if passed else "2 of 4 digits are not those that `examples` gives")
    assert [found.metric for found in by_metric.values() if not found.passed] == ([] if passed else [finding.metric])


@pytest.mark.parametrize(
    ("python_answers", "left_out"),
    [
        ((), {"same as in Python", "digits as by examples"}),
        ((in_python("pixels", outputs(DIGITS)),), {"digits as by examples"}),
        ((in_python("examples", outputs(DIGITS)),), {"same as in Python"}),
        (
            (in_python("pixels", outputs(DIGITS)), Answer("examples", Kind.GOOD, "", error="InternalError")),
            {"digits as by examples"},
        ),
        (
            (in_python("pixels", outputs(DIGITS)), in_python("examples", outputs(DIGITS[:1]))),
            {"digits as by examples"},
        ),
    ],
)
def test_what_cannot_be_compared_is_left_out(python_answers: tuple[Answer, ...], left_out: set[str]) -> None:
    report = Report(answers=tuple(answers()), python_answers=python_answers)
    findings = judge_answers(report, len(DIGITS), LIMITS)
    assert all(finding.passed for finding in findings)
    assert {finding.metric for finding in judge(answers())} - {finding.metric for finding in findings} == left_out


def test_a_signature_that_fails_in_python_only() -> None:
    python = (replace(failed(Kind.GOOD), message="out of ink"), in_python("examples", outputs(DIGITS)))
    report = Report(answers=tuple(answers()), python_answers=python)
    (refusal,) = (finding for finding in judge_answers(report, len(DIGITS), LIMITS) if not finding.passed)
    assert (refusal.metric, refusal.reason) == ("same as in Python", "in Python it was InternalError: out of ink")
