"""TF Serving's gRPC API, with the services of `tensorflow-serving-api`.

Source: `tensorflow_serving/apis/*.proto`; messages as in `servables/tensorflow/predict_impl.cc`,
`get_model_metadata_impl.cc` and `model_servers/get_model_status_impl.cc`.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from functools import wraps
from importlib import import_module
from typing import Any

import grpc
import grpc.aio
import numpy as np
import tensorflow as tf
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as grpc_health_aio
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION_SERVICE
from grpc_reflection.v1alpha.reflection import aio as grpc_reflection_aio
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

from serving.server.grpc_receiver import set_error
from serving.server.interface import LARGE_REQUEST_BYTES, MAX_RANK, ServingError, Tensors, invalid
from serving.server.model_server import ModelServer

_SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
_SIGNATURES_FIELD = "signature_def"
_REFLECTION_SECONDS = 10.0
# TF Serving answers in these fields, not in `tensor_content`, and its clients read them.
_VALUE_FIELDS = {
    np.dtype(np.float32): (tf.float32.as_datatype_enum, "float_val"),
    np.dtype(np.float64): (tf.float64.as_datatype_enum, "double_val"),
    np.dtype(np.int32): (tf.int32.as_datatype_enum, "int_val"),
    np.dtype(np.int64): (tf.int64.as_datatype_enum, "int64_val"),
    np.dtype(np.bool_): (tf.bool.as_datatype_enum, "bool_val"),
    np.dtype(object): (tf.string.as_datatype_enum, "string_val"),
}
# Size of an array element that refers to a string.
_REFERENCE_BYTES = 8

_logger = logging.getLogger(__name__)


def _answering(method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Converts the errors of a method to gRPC statuses."""

    @wraps(method)
    async def answer(self: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await method(self, request)
        except ServingError as error:
            set_error(context, error)
        except Exception:
            _logger.exception("A request failed.")
            message = "Internal error; see the log of the server."
            set_error(context, ServingError(grpc.StatusCode.INTERNAL, message))
        return None

    return answer


def _unimplemented(name: str) -> Callable[..., Awaitable[Any]]:
    @_answering
    async def refuse(self: Any, request: Any) -> None:
        message = f"This development server has no {name}; it supports Predict, GetModelMetadata and GetModelStatus."
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, message)

    return refuse


class _Health(grpc_health_aio.HealthServicer):
    """Without streams: each would take the place of a request for as long as its client likes."""

    async def Watch(self, request: Any, context: grpc.aio.ServicerContext) -> None:  # noqa: N802
        """Answers that clients should poll, as the protocol of the service provides."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "This development server has no Watch; call Check.")


class _Reflection(grpc_reflection_aio.ReflectionServicer):
    """Ends streams that stay open, because each takes the place of a request."""

    async def ServerReflectionInfo(  # noqa: N802
        self, request_iterator: AsyncIterable[Any], unused_context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        """Answers the requests of a stream."""
        async with asyncio.timeout(_REFLECTION_SECONDS):
            async for response in super().ServerReflectionInfo(request_iterator, unused_context):
                yield response


class GrpcApi(PredictionServiceServicer, ModelServiceServicer):
    """TF Serving's services for predictions and the status of models, and gRPC's for health and reflection.

    In health checks, the name of a model is that of its service. A model is healthy while one of its versions is
    loaded, the server and its other services while any model is.

    Args:
        server: Handles the requests.
        max_request_bytes: Maximum size of all tensors of a request together.
    """

    def __init__(self, server: ModelServer, max_request_bytes: int) -> None:
        self._server = server
        self._max_request_bytes = max_request_bytes
        self._health = _Health()

    def add_to(self, grpc_server: grpc.aio.Server) -> None:
        """Adds the services to a gRPC server."""
        add_PredictionServiceServicer_to_server(self, grpc_server)
        add_ModelServiceServicer_to_server(self, grpc_server)
        add_HealthServicer_to_server(self._health, grpc_server)
        for module in ("model_service_pb2", "prediction_service_pb2"):
            # Their generated code is old. It fails, but only after it has described the services to protobuf.
            with suppress(AttributeError):
                import_module(f"tensorflow_serving.apis.{module}")
        reflection = _Reflection((*_SERVICES, HEALTH_SERVICE, REFLECTION_SERVICE))
        add_ServerReflectionServicer_to_server(reflection, grpc_server)

    async def report_health(self) -> None:
        """Reports which models have a loaded version; call it after each change of a version."""
        models = self._server.loaded_models()
        for service, is_loaded in {**dict.fromkeys(("", *_SERVICES), any(models.values())), **models}.items():
            status = HealthCheckResponse.SERVING if is_loaded else HealthCheckResponse.NOT_SERVING
            await self._health.set(service, status)

    async def stop_health(self) -> None:
        """Reports NOT_SERVING for everything from now on."""
        await self._health.enter_graceful_shutdown()

    @_answering
    async def Predict(self, request: PredictRequest) -> PredictResponse:  # noqa: N802
        """Runs a signature of a model."""
        spec, limit = _model_spec(request), self._max_request_bytes
        with ExitStack() as stack:
            with self._server.counted_errors(spec, "GRPC"):
                version = stack.enter_context(self._server.held(spec))
                is_large = request.ByteSize() > LARGE_REQUEST_BYTES
                inputs = await asyncio.to_thread(_inputs, request, limit) if is_large else _inputs(request, limit)
            answered, outputs = await self._server.predict(spec, inputs, request.output_filter, "GRPC", version)
        response = PredictResponse(model_spec=answered)
        for name, array in outputs.items():
            fill_proto(response.outputs[name], array)
        return response

    @_answering
    async def GetModelMetadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:  # noqa: N802
        """Describes the signatures of a model."""
        spec = _model_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES_FIELD:
                raise invalid(f"Metadata field {field} is not supported")
        version, signatures = self._server.signatures(spec)
        response = GetModelMetadataResponse(model_spec=ModelSpec(name=spec.name))
        response.model_spec.version.value = version
        response.metadata[_SIGNATURES_FIELD].Pack(SignatureDefMap(signature_def=signatures))
        return response

    @_answering
    async def GetModelStatus(self, request: GetModelStatusRequest) -> GetModelStatusResponse:  # noqa: N802
        """Returns the status of the versions of a model."""
        return GetModelStatusResponse(model_version_status=self._server.statuses(_model_spec(request)))

    # The models have no signatures that return classes or a single value, and the server watches `models.config`.
    Classify = _unimplemented("Classify")
    Regress = _unimplemented("Regress")
    MultiInference = _unimplemented("MultiInference")
    HandleReloadConfigRequest = _unimplemented("HandleReloadConfigRequest")


def _model_spec(request: Any) -> ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.model_spec.name:
        raise invalid("ModelSpec has no name specified.")
    return request.model_spec


def _inputs(request: PredictRequest, max_bytes: int) -> Tensors:
    inputs = {}
    for name, proto in request.inputs.items():
        inputs[name] = tensor_from_proto(name, proto, max_bytes)
        max_bytes -= inputs[name].nbytes
    return inputs


def tensor_from_proto(name: str, proto: TensorProto, max_bytes: int) -> np.ndarray:
    """Converts a tensor of a request.

    Args:
        name: Name of the input, for messages.
        proto: The tensor.
        max_bytes: Maximum size of the array. A few bytes can declare any shape, because missing values are filled up.

    Returns:
        The tensor; strings as an array of `bytes` objects.

    Raises:
        ServingError: INVALID_ARGUMENT if dtype, shape and content do not match.
    """

    def error(reason: object) -> ServingError:
        return invalid(f"tensor parsing error: {name}: {reason}")

    try:
        dtype = tf.dtypes.as_dtype(proto.dtype)
        # Handles have a dtype, but no NumPy dtype.
        _ = dtype.as_numpy_dtype
    except (KeyError, TypeError):
        raise error(f"there is no type {proto.dtype}") from None
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise error(f"its shape is {shape}, but each size has to be known")
    if len(shape) > MAX_RANK:
        raise error(f"it has {len(shape)} dimensions; expected at most {MAX_RANK}")
    num_bytes = math.prod(shape) * (_REFERENCE_BYTES if dtype == tf.string else dtype.size)
    if num_bytes > max_bytes:
        raise error(f"shape {shape} takes more than {max_bytes:,} bytes")
    content = proto.tensor_content
    if content and (dtype == tf.string or len(content) != num_bytes):
        raise error(f"{len(content):,} bytes of tensor_content do not match {dtype.name} of shape {shape}")
    if content:
        # As `make_ndarray` does, but without a copy.
        return np.frombuffer(content, dtype.as_numpy_dtype).reshape(shape)
    try:
        return tf.make_ndarray(proto)
    except (OverflowError, TypeError, ValueError) as reason:
        raise error(reason) from None


def fill_proto(proto: TensorProto, array: np.ndarray) -> None:
    """Writes a tensor, with strings as `bytes` objects, to an empty proto."""
    if array.dtype not in _VALUE_FIELDS:
        proto.CopyFrom(tf.make_tensor_proto(array))
        return
    proto.dtype, field = _VALUE_FIELDS[array.dtype]
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(array.ravel().tolist())
