"""Asks a served model, wherever it runs, in the terms of its contract."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from registry.signatures import (
    EXAMPLES,
    EXAMPLES_INPUT,
    IMAGE_BYTES_INPUT,
    NORMALIZE,
    NORMALIZED_IMAGE_OUTPUT,
    SERVING_DEFAULT,
)
from serving.client.answers import Answer, answers_from_outputs
from serving.client.errors import ClientError


@dataclass(frozen=True)
class ServedOutputs:
    """What a signature has answered.

    Attributes:
        outputs: Arrays by name.
        version: Version of the model that answered, or None where the server does not say.
    """

    outputs: Mapping[str, np.ndarray]
    version: int | None


class Endpoint(Protocol):
    """A place where a model can be asked."""

    def ask(self, signature: str, input_name: str, values: Sequence[bytes]) -> ServedOutputs:
        """Sends one request.

        Args:
            signature: Name of the signature.
            input_name: Name of its only input.
            values: What to send, string[n].

        Raises:
            RejectedInputError: The model refuses the values; of several it may be a single one that is wrong.
            ClientError: The model cannot be asked.
        """
        ...

    def close(self) -> None:
        """Gives back what it holds."""
        ...


class Client:
    """Answers to images and records, each call being one request."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Asks at `endpoint`."""
        self._endpoint = endpoint

    def predict(self, images: Sequence[bytes]) -> list[Answer]:
        """Asks which digits encoded images show.

        Args:
            images: PNG, JPEG, GIF or BMP, of any size, polarity and position of the digit.

        Returns:
            One answer per image, in their order.

        Raises:
            RejectedInputError: The model refuses the images; of several it may be a single one that is wrong.
            ClientError: The model cannot be asked.
        """
        return self._answers(SERVING_DEFAULT, IMAGE_BYTES_INPUT, images)

    def predict_examples(self, examples: Sequence[bytes]) -> list[Answer]:
        """Asks which digits serialized raw tf.Examples show; as `predict`."""
        return self._answers(EXAMPLES, EXAMPLES_INPUT, examples)

    def normalize(self, images: Sequence[bytes]) -> np.ndarray:
        """Asks what the model sees of encoded images.

        Args:
            images: As for `predict`, which accepts them.

        Returns:
            float32[n,28,28], 0 background to 255 ink.

        Raises:
            ClientError: The model cannot be asked, or was pushed before it could tell.
        """
        try:
            served = self._endpoint.ask(NORMALIZE, IMAGE_BYTES_INPUT, images)
            return np.asarray(served.outputs[NORMALIZED_IMAGE_OUTPUT], dtype=np.float32)
        except (ClientError, KeyError) as error:
            raise ClientError(
                f"the model does not tell what it sees ({error}). One that was pushed before there was a signature "
                f"`{NORMALIZE}` cannot; `digits run` pushes a new one."
            ) from error

    def close(self) -> None:
        """Gives back what the endpoint holds."""
        self._endpoint.close()

    def _answers(self, signature: str, input_name: str, values: Sequence[bytes]) -> list[Answer]:
        if not values:
            return []
        served = self._endpoint.ask(signature, input_name, values)
        return answers_from_outputs(served.outputs, len(values), served.version)
