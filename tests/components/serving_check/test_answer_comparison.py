import numpy as np
import pytest

from components.serving_check.answer_comparison import compare, misshapen

NAN = float("nan")


def outputs(probabilities: list[list[float]], digit: list[int], status: list[bytes]) -> dict[str, np.ndarray]:
    return {
        "probabilities": np.array(probabilities, np.float32),
        "digit": np.array(digit),
        "status": np.array(status, object),
    }


EXPECTED = outputs([[0.25, 0.75], [0.5, NAN]], [1, 0], [b"ok", b"blank"])


@pytest.mark.parametrize(
    ("found", "difference", "reason"),
    [
        (EXPECTED, 0, ""),
        (outputs([[0.25, 0.75 + 2**-16], [0.5, NAN]], [1, 0], [b"ok", b"blank"]), 2**-16, ""),
        (
            outputs([[0.25, 0.75], [0.625, NAN]], [1, 0], [b"ok", b"blank"]),
            0.125,
            "probabilities of image 1 is 0.625, expected 0.5",
        ),
        (
            outputs([[NAN, 0.75], [0.5, NAN]], [1, 0], [b"ok", b"blank"]),
            np.inf,
            "probabilities of image 0 is nan, expected 0.25",
        ),
        (
            outputs([[0.25, 0.75], [0.5, NAN]], [1, 3], [b"ok", b"blank"]),
            0,
            "digit of image 1 is 3, expected 0",
        ),
        (
            outputs([[0.25, 0.75], [0.5, NAN]], [1, 0], [b"ok", b"ok"]),
            0,
            "status of image 1 is ok, expected blank",
        ),
        (
            {name: values[:1] for name, values in EXPECTED.items()},
            np.inf,
            "digit has the shape [1], expected [2]",
        ),
    ],
)
def test_in_what_answers_differ(found: dict[str, np.ndarray], difference: float, reason: str) -> None:
    assert compare(found, EXPECTED, 1e-4) == (difference, reason)


def test_no_answers_differ_in_nothing() -> None:
    empty = {name: values[:0] for name, values in EXPECTED.items()}
    assert compare(empty, empty, 1e-4) == (0, "")


def test_a_row_for_each_image_is_expected() -> None:
    answers = {
        "probabilities": np.zeros((3, 10)),
        "digit": np.zeros(3),
        "confidence": np.zeros(3),
        "status": np.zeros(3),
    }
    assert misshapen("pixels", answers, 3) == ""
    assert misshapen("normalize", {"image": np.zeros((3, 28, 28))}, 3) == ""
    assert misshapen("pixels", answers, 4) == "probabilities has the shape [3, 10], expected [4, 10]"
    assert misshapen("pixels", {**answers, "digit": np.zeros((3, 1))}, 3) == "digit has the shape [3, 1], expected [3]"
