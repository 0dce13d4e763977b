"""Runs a SavedModel in this process, loaded as TF Serving loads it; imports TensorFlow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np

from registry.signatures import INPUTS
from serving.client.client import Client, ClientError, RejectedInputError
from serving.server.interface import ServingError
from serving.server.model import LoadedModel, ModelLoadError


class LocalClient(Client):
    """A pushed version in this process."""

    def __init__(self, directory: Path) -> None:
        """Loads the version.

        Args:
            directory: Its folder, named after its number.

        Raises:
            ClientError: It cannot be loaded.
        """
        self._directory = directory
        try:
            self._model = LoadedModel(directory)
        except ModelLoadError as error:
            raise ClientError(f"{error}\nName another version, or push a new one with `digits run`.") from error

    def close(self) -> None:
        """Releases the model."""
        self._model.close()

    def _ask(self, signature: str, values: Sequence[bytes]) -> tuple[Mapping[str, np.ndarray], int | None]:
        # NumPy's own bytes type drops trailing zeros.
        strings = np.array(values, dtype=object)
        try:
            outputs = self._model.run(signature, {INPUTS[signature]: strings})
        except ServingError as error:
            if error.code is grpc.StatusCode.INVALID_ARGUMENT:
                raise RejectedInputError(error.message) from error
            raise ClientError(f"{self._directory}: {error.message}") from error
        return outputs, int(self._directory.name)
