"""Sends inputs in batches, so that a wrong one costs no answer but its own."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from serving.client.answers import Answer, Input, Result
from serving.client.errors import ImageError, RejectedInputError
from serving.client.images import read_image

Ask = Callable[[Sequence[bytes]], list[Answer]]
"""`Client.predict` or `Client.predict_examples`."""

MAX_BATCH_BYTES = 8 * 1024**2
"""Far below what servers take, and enough that a request costs little beside its content."""


def read_inputs(sources: Iterable[str]) -> Iterator[Input]:
    """Reads images one after the other.

    Args:
        sources: Paths; `-` is standard input.
    """
    for source in sources:
        try:
            yield Input(source, 0, read_image(source))
        except ImageError as error:
            yield Input(source, 0, b"", str(error))


def answer_inputs(inputs: Iterable[Input], ask: Ask, batch_size: int) -> Iterator[Result]:
    """Asks about inputs, in batches.

    Args:
        inputs: Of any number; only one batch is held at a time.
        ask: Sends one request.
        batch_size: Most inputs per request.

    Yields:
        One result per input, in their order.

    Raises:
        ClientError: The model cannot be asked at all.
    """
    for batch in _batches(inputs, batch_size):
        readable = [item for item in batch if not item.error]
        outcomes = iter(_outcomes([item.content for item in readable], ask))
        for item in batch:
            outcome = item.error or next(outcomes)
            yield Result(item, outcome) if isinstance(outcome, Answer) else Result(item, None, outcome)


def _batches(inputs: Iterable[Input], batch_size: int) -> Iterator[list[Input]]:
    batch: list[Input] = []
    num_bytes = 0
    for item in inputs:
        if batch and (len(batch) == batch_size or num_bytes + len(item.content) > MAX_BATCH_BYTES):
            yield batch
            batch, num_bytes = [], 0
        batch.append(item)
        num_bytes += len(item.content)
    if batch:
        yield batch


def _outcomes(contents: Sequence[bytes], ask: Ask) -> Sequence[Answer | str]:
    """Returns an answer or a reason for each; where a batch is refused, all are asked about again, one by one."""
    try:
        return ask(contents)
    except RejectedInputError as error:
        if len(contents) == 1:
            return [_first_line(error)]
    return [outcome for content in contents for outcome in _outcomes([content], ask)]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "the model refuses it without a reason")
