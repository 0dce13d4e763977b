"""What the network sees is judged as answers are, in units of full ink instead of probabilities."""

import numpy as np
import pytest

from components.serving_check.answer_judgement import judge_answers
from components.serving_check.exchange import Answer, Kind, Report
from components.serving_check.limits import ServingLimits
from components.verdict import Finding

LIMITS = ServingLimits(huge_batch=9)


def judge(images: np.ndarray, in_python: np.ndarray) -> list[Finding]:
    """Judges a signature that gives images, refuses one malformed request, and is not asked for digits."""

    def answer(kind: Kind, num_images: int) -> Answer:
        return Answer("normalize", kind, "", {"image": np.resize(images, (num_images, 28, 28))}, milliseconds=(1.0,))

    answers = (
        answer(Kind.GOOD, len(images)),
        answer(Kind.ALONE, 1),
        answer(Kind.EMPTY, 0),
        answer(Kind.HUGE, LIMITS.huge_batch),
        Answer("normalize", Kind.MALFORMED, "a text file", error="InvalidArgumentError", message="no image"),
        answer(Kind.AFTERWARDS, 1),
        answer(Kind.LATENCY, 1),
    )
    python = (
        Answer("normalize", Kind.GOOD, "", {"image": in_python}),
        Answer("examples", Kind.GOOD, "", answers_of_examples(len(images))),
    )
    return judge_answers(Report(answers=answers, python_answers=python), len(images), LIMITS)


def answers_of_examples(num_images: int) -> dict[str, np.ndarray]:
    return {
        "probabilities": np.full((num_images, 10), 0.1),
        "digit": np.zeros(num_images),
        "confidence": np.full(num_images, 0.1),
        "status": np.full(num_images, b"ok", object),
    }


def test_images_are_compared_in_units_of_full_ink() -> None:
    images = np.full((4, 28, 28), 200, np.float32)
    findings = judge(images, images + 0.02)
    assert [finding.metric for finding in findings if not finding.passed] == []
    bounds = {finding.metric: (finding.value, finding.bound) for finding in findings}
    assert bounds["same as in Python"] == (pytest.approx(0.02, abs=1e-3), "≤ 0.0255")
    assert bounds["largest pixel"] == (200, "≤ 255")
    assert bounds["huge batch"] == ("9 answers", "9 answers")
    assert "digits as by examples" not in bounds
    (refusal,) = (finding for finding in judge(images, images + 0.05) if not finding.passed)
    assert (refusal.metric, refusal.reason) == ("same as in Python", "image of image 0 is 200, expected 200.05")


@pytest.mark.parametrize(("pixel", "text"), [(256, "256"), (-1, "-1"), (np.nan, "nan")])
def test_a_pixel_out_of_range(pixel: float, text: str) -> None:
    images = np.full((4, 28, 28), 200, np.float32)
    images[:, 3, 4] = pixel
    (refusal,) = (finding for finding in judge(images, images) if not finding.passed)
    assert (refusal.metric, refusal.slice) == ("largest pixel", "normalize")
    assert refusal.reason == f"pixel 3, 4 of image 0 is {text}, expected 0 to 255"
