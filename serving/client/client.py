"""The interface to a model, local or remote: one request per call, or any number of inputs in batches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from registry.errors import ExpectedError
from registry.signatures import (
    ANSWER_OUTPUTS,
    CLASSES_OUTPUT,
    CONFIDENCE_OUTPUT,
    DIGIT_OUTPUT,
    EXAMPLES,
    LABEL_OUTPUT,
    NORMALIZE,
    NORMALIZED_IMAGE_OUTPUT,
    PROBABILITIES_OUTPUT,
    SERVING_DEFAULT,
    STATUS_OUTPUT,
)

MAX_BATCH_BYTES = 4 * 1024**2
"""Maximum size of the inputs in a request, unless a single one is larger; makes its overhead negligible."""


class ClientError(ExpectedError):
    """The model cannot be reached or does not work; the message says what to do."""


class RejectedInputError(ClientError):
    """The model refuses an input; in a request with several, one may be wrong."""


@dataclass(frozen=True)
class Answer:
    """The prediction for one image.

    Attributes:
        label: Name of the class; empty for an image without ink.
        confidence: Probability of the class, 0 to 1.
        probabilities: Probabilities of all classes, which sum to 1.
        classes: Their names, in the same order.
        status: `ok`, `unsure` or `blank`; `low_confidence` instead of `unsure` from versions of earlier releases.
        model_version: Version that answered, or None if unknown: TF Serving's REST API does not return it.
    """

    label: str
    confidence: float
    probabilities: tuple[float, ...]
    classes: tuple[str, ...]
    status: str
    model_version: int | None


@dataclass(frozen=True)
class Input:
    """One image or record, or the reason why it could not be read.

    Attributes:
        source: File name; `-` is standard input.
        index: Number of the record in its file.
        content: Encoded image or serialized tf.Example.
        error: Why there is no content; empty if there is.
    """

    source: str
    index: int
    content: bytes
    error: str = ""


@dataclass(frozen=True)
class Result:
    """The answer to one input, or the reason why there is none.

    Attributes:
        item: The input.
        answer: The prediction, or None.
        error: Why there is no answer; empty if there is.
    """

    item: Input
    answer: Answer | None
    error: str = ""


class Client(ABC):
    """A connection to one model; each call sends one request."""

    def predict(self, images: Sequence[bytes]) -> list[Answer]:
        """Classifies encoded images.

        Args:
            images: PNG, JPEG, GIF or BMP, of any size.

        Returns:
            One answer per image, in their order.

        Raises:
            RejectedInputError: The model refuses an image.
            ClientError: The model cannot be reached or does not work.
        """
        return self._answers(SERVING_DEFAULT, images)

    def predict_examples(self, examples: Sequence[bytes]) -> list[Answer]:
        """Classifies serialized raw tf.Examples; otherwise like `predict`."""
        return self._answers(EXAMPLES, examples)

    def normalize(self, images: Sequence[bytes]) -> np.ndarray:
        """Returns encoded images as the network sees them.

        Args:
            images: Images that `predict` accepts.

        Returns:
            float32[n,height,width] of a gray model, or float32[n,height,width,3]; pixels from 0 to 255.

        Raises:
            ClientError: The request fails, or the model is older than the signature `normalize`.
        """
        try:
            outputs, _ = self._ask(NORMALIZE, images)
            return np.asarray(outputs[NORMALIZED_IMAGE_OUTPUT], dtype=np.float32)
        except (ClientError, KeyError) as error:
            raise ClientError(
                f"the model does not return normalized images ({error}). If it is older than the signature "
                f"`{NORMALIZE}`, push a new version with `digits run`."
            ) from error

    @abstractmethod
    def close(self) -> None:
        """Releases connections and memory."""

    @abstractmethod
    def _ask(self, signature: str, values: Sequence[bytes]) -> tuple[Mapping[str, np.ndarray], int | None]:
        """Sends one request.

        Args:
            signature: Name of the signature.
            values: Its input, string[n].

        Returns:
            Its outputs by name, and the version that answered, or None if unknown.

        Raises:
            RejectedInputError: The model refuses a value.
            ClientError: The model cannot be reached or does not work.
        """

    def _answers(self, signature: str, values: Sequence[bytes]) -> list[Answer]:
        if not values:
            return []
        outputs, version = self._ask(signature, values)
        if outputs.keys() >= {DIGIT_OUTPUT, PROBABILITIES_OUTPUT} and LABEL_OUTPUT not in outputs:
            outputs = _with_labels(outputs)
        _check_shapes(outputs, len(values))
        classes = tuple(map(_text, outputs[CLASSES_OUTPUT][0]))
        return [
            Answer(
                label=_text(label),
                confidence=float(confidence),
                probabilities=tuple(map(float, probabilities)),
                classes=classes,
                status=_text(status),
                model_version=version,
            )
            for label, confidence, probabilities, status in zip(
                *(outputs[name] for name in (LABEL_OUTPUT, CONFIDENCE_OUTPUT, PROBABILITIES_OUTPUT, STATUS_OUTPUT)),
                strict=True,
            )
        ]


def _with_labels(outputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Adds `label` and `classes` to the outputs of a version that was pushed before they existed."""
    names = np.arange(np.shape(outputs[PROBABILITIES_OUTPUT])[-1]).astype(str)
    labels = ["" if digit < 0 else str(digit) for digit in outputs[DIGIT_OUTPUT].tolist()]
    return {
        **outputs,
        LABEL_OUTPUT: np.array(labels),
        CLASSES_OUTPUT: np.broadcast_to(names, (len(labels), len(names))),
    }


def _check_shapes(outputs: Mapping[str, np.ndarray], num_inputs: int) -> None:
    found = {name: outputs[name].shape for name in ANSWER_OUTPUTS if name in outputs}
    num_classes = found.get(CLASSES_OUTPUT, ())[-1:]
    expected = {
        name: (num_inputs, *num_classes) if name in (CLASSES_OUTPUT, PROBABILITIES_OUTPUT) else (num_inputs,)
        for name in ANSWER_OUTPUTS
    }
    if found != expected:
        shapes = ", ".join(f"{name}{list(shape)}" for name, shape in found.items()) or "none of its outputs"
        raise ClientError(
            f"this model is not an image classifier from `digits run`: for {num_inputs} input(s) it returned "
            f"{shapes}, expected {num_inputs} each of {', '.join(ANSWER_OUTPUTS)}."
        )


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


Predict = Callable[[Sequence[bytes]], list[Answer]]
"""`Client.predict` or `Client.predict_examples`."""


def predict_inputs(inputs: Iterable[Input], predict: Predict, batch_size: int) -> Iterator[Result]:
    """Predicts inputs in batches; a wrong input does not affect the others.

    Args:
        inputs: Any number; only one batch is in memory at a time.
        predict: Sends one request.
        batch_size: Largest number of inputs per request.

    Yields:
        One result per input, in their order.

    Raises:
        ClientError: The model cannot be reached or does not work.
    """
    for batch in _batches(inputs, batch_size):
        outcomes = iter(_outcomes([item.content for item in batch if not item.error], predict))
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


def _outcomes(contents: Sequence[bytes], predict: Predict) -> Sequence[Answer | str]:
    """Returns an answer or an error for each input; sends the halves of a rejected batch."""
    try:
        return predict(contents)
    except RejectedInputError as error:
        if len(contents) == 1:
            reason = next(iter(str(error).strip().splitlines()), "it gives no reason.")
            return [f"the model refuses it: {reason}"]
    middle = len(contents) // 2
    return [*_outcomes(contents[:middle], predict), *_outcomes(contents[middle:], predict)]
