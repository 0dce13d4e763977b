"""Results in words for people, and in values for programs."""

from typing import Any

from registry.signatures import STATUS_BLANK, STATUS_LOW_CONFIDENCE
from serving.client.answers import Answer, Result

_STATUS_IN_WORDS = {STATUS_BLANK: "blank: there is no ink in it", STATUS_LOW_CONFIDENCE: "unsure"}


def answer_line(source: str, answer: Answer, width: int) -> str:
    """Returns a line such as `seven.png  7   99.8 %`.

    Args:
        source: File that the answer is to.
        answer: What the model says.
        width: Of the column of file names.
    """
    if answer.status == STATUS_BLANK:
        return f"{source:<{width}}  -  {_STATUS_IN_WORDS[STATUS_BLANK]}"
    words = _STATUS_IN_WORDS.get(answer.status, "")
    return f"{source:<{width}}  {answer.digit}  {100 * answer.confidence:5.1f} %  {words}".rstrip()


def probabilities_line(answer: Answer) -> str:
    """Returns all ten probabilities in one line."""
    return "   ".join(f"{digit}: {100 * value:.1f} %" for digit, value in enumerate(answer.probabilities))


def result_values(result: Result, *, with_probabilities: bool) -> dict[str, Any]:
    """Returns what JSON says of a result; one without an answer has `source` and `error` alone."""
    answer = result.answer
    if answer is None:
        return {"source": result.item.source, "error": result.error}
    values = {
        "source": result.item.source,
        "digit": answer.digit,
        "confidence": answer.confidence,
        "status": answer.status,
        "model_version": answer.model_version,
    }
    return {**values, "probabilities": list(answer.probabilities)} if with_probabilities else values
