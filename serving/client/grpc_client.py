"""Asks over TF Serving's gRPC API, which `digits serve` speaks as well; imports TensorFlow, whose protos it needs."""

import json
from collections.abc import Sequence
from typing import NoReturn

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.client.client import ServedOutputs
from serving.client.errors import ClientError, RejectedInputError

_TIMEOUT_SECONDS = 60.0
# A server that restarts is back after a second or so.
_RETRY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_UNLIMITED = -1


class GrpcEndpoint:
    """A model behind TF Serving's PredictionService."""

    def __init__(
        self, address: str, model: str, version: int | None = None, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> None:
        """Asks the server at `address`.

        Args:
            address: Such as `localhost:8500`.
            model: Name of the model.
            version: Version to ask; the server's own choice if None.
            timeout_seconds: How long to wait for an answer, retries included.
        """
        self._address = address
        self._model = model
        self._version = version
        self._timeout = timeout_seconds
        options = (
            ("grpc.service_config", json.dumps(_RETRY)),
            ("grpc.max_send_message_length", _UNLIMITED),
            ("grpc.max_receive_message_length", _UNLIMITED),
        )
        self._channel = grpc.insecure_channel(address, options)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def ask(self, signature: str, input_name: str, values: Sequence[bytes]) -> ServedOutputs:
        """Sends one request; see `Endpoint.ask`."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        if self._version is not None:
            request.model_spec.version.value = self._version
        request.inputs[input_name].CopyFrom(tf.make_tensor_proto(values, dtype=tf.string, shape=[len(values)]))
        try:
            response = self._service.Predict(request, timeout=self._timeout)
        except grpc.RpcError as error:
            self._refuse(error)
        outputs = {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
        version = response.model_spec.version.value if response.model_spec.HasField("version") else None
        return ServedOutputs(outputs, version)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _refuse(self, error: grpc.RpcError) -> NoReturn:
        code, message = error.code(), error.details()
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            raise RejectedInputError(message) from error
        if code == grpc.StatusCode.NOT_FOUND:
            version = "" if self._version is None else f", version {self._version}"
            raise ClientError(
                f"{self._address} does not serve {self._model!r}{version}: {message}. Check the name and the version."
            ) from error
        if code == grpc.StatusCode.UNAVAILABLE:
            raise ClientError(
                f"{self._address} cannot be reached; start a server with `digits serve`, or check host and port "
                f"(TF Serving's gRPC API is at 8500): {message}"
            ) from error
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            raise ClientError(
                f"{self._address} has not answered within {self._timeout:g} s; look at the server, or try again."
            ) from error
        raise ClientError(f"{self._address} failed with {code.name}: {message}") from error
