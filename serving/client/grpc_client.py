"""Sends requests to a server with TF Serving's gRPC API, such as `digits serve`; imports TensorFlow."""

import json
from collections.abc import Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from registry.signatures import INPUTS
from serving.client.client import MAX_BATCH_BYTES, Client, ClientError, RejectedInputError

_TIMEOUT_SECONDS = 60.0
# A restarting server is back after about a second.
_RETRY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                # A busy server answers RESOURCE_EXHAUSTED and says when to retry.
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}
_UNLIMITED = -1
# gRPC does not retry a larger request. Its default, 256 KiB, is less than most batches.
_RETRY_BUFFER_BYTES = 2 * MAX_BATCH_BYTES
# In gRPC's own message about a request that is too large for a server.
_TOO_LARGE = "larger than max"


class GrpcClient(Client):
    """A model behind TF Serving's PredictionService."""

    def __init__(
        self, address: str, model: str, version: int | None = None, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> None:
        """Opens a channel; nothing is sent yet.

        Args:
            address: Server, such as `localhost:8500`.
            model: Name of the model.
            version: Version to ask, or None for the choice of the server.
            timeout_seconds: Longest time to wait for an answer, retries included.
        """
        self._address = address
        self._model = model
        self._version = version
        self._timeout = timeout_seconds
        options = (
            ("grpc.service_config", json.dumps(_RETRY)),
            ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES),
            ("grpc.max_send_message_length", _UNLIMITED),
            ("grpc.max_receive_message_length", _UNLIMITED),
        )
        self._channel = grpc.insecure_channel(address, options)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _ask(self, signature: str, values: Sequence[bytes]) -> tuple[Mapping[str, np.ndarray], int | None]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        if self._version is not None:
            request.model_spec.version.value = self._version
        tensor = tf.make_tensor_proto(values, dtype=tf.string, shape=[len(values)])
        request.inputs[INPUTS[signature]].CopyFrom(tensor)
        try:
            response = self._service.Predict(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._client_error(error.code(), error.details()) from error
        outputs = {name: tf.make_ndarray(output) for name, output in response.outputs.items()}
        return outputs, response.model_spec.version.value if response.model_spec.HasField("version") else None

    def _client_error(self, code: grpc.StatusCode, message: str) -> ClientError:
        if code == grpc.StatusCode.INVALID_ARGUMENT or _TOO_LARGE in message:
            return RejectedInputError(message)
        if code == grpc.StatusCode.NOT_FOUND:
            version = "" if self._version is None else f", version {self._version}"
            return ClientError(
                f"{self._address} does not serve {self._model!r}{version}: {message}. Check the name and the version."
            )
        if code == grpc.StatusCode.UNAVAILABLE:
            return ClientError(
                f"{self._address} cannot be reached; start a server with `digits serve`, or check host and port "
                f"(TF Serving's gRPC API is at 8500): {message}"
            )
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return ClientError(
                f"{self._address} has not answered within {self._timeout:g} s; check the server, or try again."
            )
        return ClientError(f"{self._address} failed with {code.name}: {message}")
