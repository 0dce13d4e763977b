"""Asks a SavedModel in a folder, loaded as TF Serving loads it; imports TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np

from serving.client.client import ServedOutputs
from serving.client.errors import ClientError, RejectedInputError
from serving.server.interface import ServingError
from serving.server.model import LoadedModel, ModelLoadError


class LocalEndpoint:
    """A pushed version in this process."""

    def __init__(self, directory: Path) -> None:
        """Loads the version.

        Args:
            directory: Its folder, whose name is its number.

        Raises:
            ClientError: It cannot be loaded.
        """
        self._directory = directory
        try:
            self._model = LoadedModel(directory)
        except ModelLoadError as error:
            raise ClientError(f"{error}\nName another version, or push a new one with `digits run`.") from error

    def ask(self, signature: str, input_name: str, values: Sequence[bytes]) -> ServedOutputs:
        """Runs the model once; see `Endpoint.ask`."""
        # NumPy's own texts would lose zeros at the end.
        texts = np.array(values, dtype=object)
        try:
            outputs = self._model.run(signature, {input_name: texts})
        except ServingError as error:
            if error.code is grpc.StatusCode.INVALID_ARGUMENT:
                raise RejectedInputError(error.message) from error
            raise ClientError(f"{self._directory}: {error.message}") from error
        return ServedOutputs(outputs, int(self._directory.name))

    def close(self) -> None:
        """Frees the model."""
        self._model.close()
