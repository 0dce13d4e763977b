"""TF Serving's gRPC API, on the services that its own `tensorflow-serving-api` defines.

Source: `tensorflow_serving/apis/*.proto`; messages as in `servables/tensorflow/predict_impl.cc`,
`get_model_metadata_impl.cc` and `model_servers/get_model_status_impl.cc`.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
import numpy as np
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

from serving.server.errors import ErrorCode, ServingError
from serving.server.json_tensor import invalid
from serving.server.messages import Api, ModelRequest
from serving.server.model_server import ModelServer
from serving.server.options import LARGE_BODY_BYTES
from serving.server.tensor_proto import fill_proto, tensor_from_proto

# As in TF Serving's `grpc_status_util.cc`: the message travels in a header.
_MAX_MESSAGE_CHARACTERS = 1024
_SIGNATURES_FIELD = "signature_def"

_Response = TypeVar("_Response")
_Context: TypeAlias = grpc.aio.ServicerContext

_logger = logging.getLogger(__name__)


def add_services(server: ModelServer, max_message_bytes: int, grpc_server: grpc.aio.Server) -> None:
    """Registers TF Serving's services.

    Args:
        server: Answers their requests.
        max_message_bytes: Size of the largest request that is answered.
        grpc_server: Gets them.
    """
    add_PredictionServiceServicer_to_server(PredictionService(server, max_message_bytes), grpc_server)
    add_ModelServiceServicer_to_server(ModelService(server), grpc_server)


class PredictionService(PredictionServiceServicer):
    """`tensorflow.serving.PredictionService`; the method names are those of the proto."""

    def __init__(self, server: ModelServer, max_message_bytes: int) -> None:
        """Keeps the server that answers, and the size of the largest request."""
        self._server = server
        self._max_message_bytes = max_message_bytes

    async def Predict(self, request: PredictRequest, context: _Context) -> PredictResponse | None:  # noqa: N802
        """Runs a signature of a model."""
        return await _answered(self._predict(request), context)

    async def GetModelMetadata(  # noqa: N802
        self, request: GetModelMetadataRequest, context: _Context
    ) -> GetModelMetadataResponse | None:
        """Describes the signatures of a model."""
        return await _answered(self._metadata(request), context)

    async def Classify(self, request: Any, context: _Context) -> None:  # noqa: N802
        """Is for models whose signatures return classes and scores; ours do not."""
        _refuse_method("Classify", context)

    async def Regress(self, request: Any, context: _Context) -> None:  # noqa: N802
        """Is for models that return a number."""
        _refuse_method("Regress", context)

    async def MultiInference(self, request: Any, context: _Context) -> None:  # noqa: N802
        """Is for several classifications at once."""
        _refuse_method("MultiInference", context)

    async def _predict(self, request: PredictRequest) -> PredictResponse:
        limit = self._max_message_bytes
        if request.ByteSize() > limit:
            raise invalid(f"The message is larger than {limit:,} bytes, the most that this server takes.")
        spec = _model_spec(request)
        # Large messages take so long that others would wait.
        is_large = request.ByteSize() > LARGE_BODY_BYTES
        inputs = await asyncio.to_thread(_inputs, request, limit) if is_large else _inputs(request, limit)
        answer = await self._server.predict(
            ModelRequest(*_target(spec), spec.signature_name, inputs, tuple(request.output_filter), Api.GRPC)
        )
        response = PredictResponse()
        _fill_spec(response.model_spec, answer.name, answer.version, answer.signature)
        for name, array in answer.outputs.items():
            fill_proto(response.outputs[name], array)
        return response

    async def _metadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        spec = _model_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES_FIELD:
                raise invalid(f"Metadata field {field} is not supported")
        version, signatures = self._server.signatures(*_target(spec))
        response = GetModelMetadataResponse()
        _fill_spec(response.model_spec, spec.name, version)
        response.metadata[_SIGNATURES_FIELD].Pack(SignatureDefMap(signature_def=signatures))
        return response


class ModelService(ModelServiceServicer):
    """`tensorflow.serving.ModelService`; the method names are those of the proto."""

    def __init__(self, server: ModelServer) -> None:
        """Keeps the server that answers."""
        self._server = server

    async def GetModelStatus(self, request: GetModelStatusRequest, context: _Context) -> GetModelStatusResponse | None:  # noqa: N802
        """Says which versions of a model there are, and how they fare."""
        return await _answered(self._status(request), context)

    async def HandleReloadConfigRequest(self, request: Any, context: _Context) -> None:  # noqa: N802
        """Is for servers without a folder to watch."""
        _refuse_method("HandleReloadConfigRequest", context)

    async def _status(self, request: GetModelStatusRequest) -> GetModelStatusResponse:
        response = GetModelStatusResponse()
        for status in self._server.statuses(*_target(_model_spec(request))):
            version = response.model_version_status.add(
                version=status.version, state=ModelVersionStatus.State.Value(status.state)
            )
            version.status.error_code = grpc.StatusCode[status.error_code].value[0]
            version.status.error_message = status.error_message
        return response


async def _answered(answer: Awaitable[_Response], context: _Context) -> _Response | None:
    try:
        return await answer
    except ServingError as error:
        # Its frames hold what holds it, and with it the request, until the garbage collector comes by. For the same
        # reason nothing here calls `context.abort`, whose exception the context keeps.
        error.__traceback__ = None
        code, message = error.code, error.message
    except Exception:
        _logger.exception("A request failed.")
        code, message = ErrorCode.INTERNAL, "An error of the server; its log says more."
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        message = f"{message[:_MAX_MESSAGE_CHARACTERS]}...TRUNCATED"
    context.set_code(code.grpc_status)
    context.set_details(message)
    return None


def _inputs(request: PredictRequest, max_bytes: int) -> dict[str, np.ndarray]:
    inputs = {}
    for name, proto in request.inputs.items():
        inputs[name] = tensor_from_proto(name, proto, max_bytes)
        # A few bytes may declare much; the limit is for all of them together.
        max_bytes -= inputs[name].nbytes
    return inputs


def _refuse_method(name: str, context: _Context) -> None:
    context.set_code(grpc.StatusCode.UNIMPLEMENTED)
    context.set_details(
        f"This development server has no {name}; it answers Predict, GetModelMetadata and GetModelStatus."
    )


def _model_spec(request: Any) -> ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.model_spec.name:
        raise invalid("ModelSpec has no name specified.")
    return request.model_spec


def _target(spec: ModelSpec) -> tuple[str, int | None, str | None]:
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    return spec.name, version, spec.version_label if choice == "version_label" else None


def _fill_spec(spec: ModelSpec, name: str, version: int, signature: str = "") -> None:
    spec.name = name
    spec.version.value = version
    spec.signature_name = signature
