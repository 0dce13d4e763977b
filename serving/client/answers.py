"""What is asked and what the model says of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from registry.signatures import (
    ANSWER_OUTPUTS,
    CONFIDENCE_OUTPUT,
    DIGIT_OUTPUT,
    PROBABILITIES_OUTPUT,
    STATUS_OUTPUT,
)
from serving.client.errors import ClientError


@dataclass(frozen=True)
class Answer:
    """The answer to one image.

    Attributes:
        digit: 0 to 9, or -1 for an image without ink.
        confidence: Probability of that digit, 0 to 1.
        probabilities: Of the digits 0 to 9; they add up to 1.
        status: One of the contract's: `ok`, `blank` or `low_confidence`.
        model_version: Version that answered, or None where the server does not say: TF Serving's REST API does not.
    """

    digit: int
    confidence: float
    probabilities: tuple[float, ...]
    status: str
    model_version: int | None


@dataclass(frozen=True)
class Input:
    """One image or record, or the reason why it could not be read.

    Attributes:
        source: File that it comes from; `-` is standard input.
        index: Its place among the records of that file.
        content: Encoded image or serialized tf.Example.
        error: Why there is no content; empty where there is.
    """

    source: str
    index: int
    content: bytes
    error: str = ""


@dataclass(frozen=True)
class Result:
    """What came of one input: an answer, or the reason why there is none.

    Attributes:
        item: The input.
        answer: What the model says, or None.
        error: Why there is no answer; empty where there is one.
    """

    item: Input
    answer: Answer | None
    error: str = ""


def answers_from_outputs(outputs: Mapping[str, np.ndarray], num_inputs: int, version: int | None) -> list[Answer]:
    """Puts the outputs of a signature together, one answer per input.

    Args:
        outputs: `probabilities` [n,10], `digit` [n], `confidence` [n] and `status` [n], of any numeric and text types.
        num_inputs: How many inputs were sent.
        version: Version that answered, if known.

    Raises:
        ClientError: An output is missing or has another number of entries.
    """
    lengths = {name: len(outputs[name]) for name in ANSWER_OUTPUTS if name in outputs}
    if lengths != dict.fromkeys(ANSWER_OUTPUTS, num_inputs):
        raise ClientError(
            f"this is not a model of the digit classifier: to {num_inputs} image(s) it answered {_counts(lengths)}, "
            f"expected {_counts(dict.fromkeys(ANSWER_OUTPUTS, num_inputs))}."
        )
    return [
        Answer(
            digit=int(outputs[DIGIT_OUTPUT][row]),
            confidence=float(outputs[CONFIDENCE_OUTPUT][row]),
            probabilities=tuple(float(value) for value in outputs[PROBABILITIES_OUTPUT][row]),
            status=_text(outputs[STATUS_OUTPUT][row]),
            model_version=version,
        )
        for row in range(num_inputs)
    ]


def _counts(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"{number} × {name}" for name, number in lengths.items()) or "nothing that it should"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
