"""Loads a SavedModel and runs its signatures as TF Serving does: a graph in a session.

Source of the error messages: tensorflow_serving/servables/tensorflow/predict_util.cc, and in TensorFlow
cc/saved_model/util.cc for names and core/framework/function.cc for types. The graph itself checks shapes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow.core.protobuf.config_pb2 import CallableOptions
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from registry.signatures import SERVING_DEFAULT
from serving.server.interface import ServingError, Tensors, invalid

_INITIALIZATION = "__saved_model_init_op"
# Format: https://www.tensorflow.org/tfx/serving/saved_model_warmup
_WARM_UP_FILE = Path("assets.extra", "tf_serving_warmup_requests")

# The calling thread computes (-1: the session has no threads of its own). That saves most of the time of a call with
# few images, and is fastest with many clients, because every core then runs its own call.
_SESSION_CONFIG = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)

_CODES = {code.value[0]: code for code in grpc.StatusCode} | {
    # An op rejects a value of the request.
    tf.errors.OUT_OF_RANGE: grpc.StatusCode.INVALID_ARGUMENT,
    # A session that closes cancels the calls that run in it.
    tf.errors.CANCELLED: grpc.StatusCode.UNAVAILABLE,
}


class ModelLoadError(ValueError):
    """A SavedModel cannot be loaded; the message says why."""


class LoadedModel:
    """A SavedModel loaded into a session.

    Args:
        directory: Folder of the SavedModel.

    Attributes:
        signatures: Signature definitions by name.

    Raises:
        ModelLoadError: The folder holds no model that can be loaded.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=_SESSION_CONFIG)
        try:
            meta_graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(directory))
        # The loader raises errors of many types.
        except Exception as error:
            self._session.close()
            text = error.message if isinstance(error, tf.errors.OpError) else str(error)
            raise ModelLoadError(f"{directory}: {type(error).__name__}: {text.strip()}") from error
        # Copies: the originals would keep the whole graph in memory.
        self.signatures: Mapping[str, SignatureDef] = {
            name: SignatureDef.FromString(definition.SerializeToString())
            for name, definition in meta_graph.signature_def.items()
            if name != _INITIALIZATION
        }
        self._ready: dict[str, _Signature] = {}

    def run(self, signature: str, inputs: Tensors, outputs: Sequence[str] = ()) -> Tensors:
        """Runs a signature; may be called from many threads.

        Args:
            signature: Name of the signature; empty for `serving_default`.
            inputs: Values by name, with the dtypes of the signature.
            outputs: Names of the outputs to return; empty for all.

        Returns:
            The outputs by name.

        Raises:
            ServingError: The request does not match the signature, or the graph rejects it.
        """
        signature = signature or SERVING_DEFAULT
        try:
            if signature not in self._ready:
                if signature not in self.signatures:
                    # TF Serving's code, FAILED_PRECONDITION, would blame the state of the server.
                    raise invalid(f'Serving signature key "{signature}" not found.')
                self._ready[signature] = _Signature(self._session, self.signatures[signature])
            return self._ready[signature].run(inputs, outputs)
        except tf.errors.OpError as error:
            raise ServingError(_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), error.message) from error
        except UnicodeDecodeError as error:
            # TensorFlow quotes the rejected input in its message, which its Python API decodes.
            raise invalid(error.object.decode(errors="backslashreplace")) from error

    def warm_up(self) -> int:
        """Runs the warm-up requests of the model, so that the first client does not have to wait.

        Returns:
            The number of warm-up requests.

        Raises:
            ModelLoadError: A request cannot be read or fails; TF Serving does not serve such a model either. The model
                is closed.
        """
        file = self._directory / _WARM_UP_FILE
        num_requests = 0
        if not file.is_file():
            return num_requests
        try:
            for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
                log = PredictionLog.FromString(record)
                if (kind := log.WhichOneof("log_type")) != "predict_log":
                    raise ModelLoadError(f"{_WARM_UP_FILE} holds a {kind}; expected a predict_log.")
                request = log.predict_log.request
                inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
                self.run(request.model_spec.signature_name, inputs)
                num_requests += 1
        except Exception as error:
            is_damaged = isinstance(error, tf.errors.DataLossError | DecodeError)
            reason = f"{file} is damaged: {error}" if is_damaged else error
            self.close()
            raise ModelLoadError(f"{self._directory}: warm-up request {num_requests}: {reason}") from error
        return num_requests

    def close(self) -> None:
        """Frees the model; running and later requests fail."""
        self._session.close()


class _Signature:
    """A signature that is ready to run."""

    def __init__(self, session: tf.compat.v1.Session, definition: SignatureDef) -> None:
        self._types = {name: tf.dtypes.as_dtype(definition.inputs[name].dtype) for name in sorted(definition.inputs)}
        self._outputs = sorted(definition.outputs)
        # Always fetches all outputs: TensorFlow prepares the graph again for every other set.
        options = CallableOptions(
            feed=[definition.inputs[name].name for name in self._types],
            fetch=[definition.outputs[name].name for name in self._outputs],
        )
        # Faster than Session.run, whose messages about wrong shapes also differ from TF Serving's.
        self._fetch: Callable[..., list[np.ndarray]] = session._make_callable_from_options(options)

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        self._check_outputs(outputs)
        self._check_inputs(inputs)
        answers = dict(zip(self._outputs, self._fetch(*(inputs[name] for name in self._types)), strict=True))
        return {name: answers[name] for name in outputs} if outputs else answers

    def _check_inputs(self, inputs: Tensors) -> None:
        if inputs.keys() != self._types.keys():
            raise invalid(_wrong_names(inputs.keys(), self._types.keys()))
        for index, (name, expected) in enumerate(self._types.items()):
            values = inputs[name]
            if values.dtype != expected.as_numpy_dtype:
                found = type_name(tf.dtypes.as_dtype(values.dtype))
                raise invalid(
                    f"Expects arg[{index}] to be {type_name(expected)} but {found} is provided (input: {name})"
                )
            if expected == tf.string and not all(isinstance(value, bytes) for value in values.flat):
                raise invalid(f"tensor parsing error: {name}")

    def _check_outputs(self, outputs: Sequence[str]) -> None:
        for index, name in enumerate(outputs):
            if name not in self._outputs:
                raise invalid(
                    f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                    f"{{{_joined(self._outputs)}}}."
                )
            if name in outputs[:index]:
                raise invalid(f"duplicate output tensor alias: {name}")


def _wrong_names(found: Iterable[str], expected: Iterable[str]) -> str:
    found, expected = set(found), set(expected)
    if len(found) == len(expected):
        used = _joined(found & expected)
        return f"Inputs contains invalid name. Used request inputs: {used}, request input: {_joined(found)}"
    return (
        f"input size does not match signature: {len(found)}!={len(expected)} len({{{_joined(found)}}}) != "
        f"len({{{_joined(expected)}}}). Sent extra: {{{_joined(found - expected)}}}. Missing but required: "
        f"{{{_joined(expected - found)}}}."
    )


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def type_name(dtype: tf.DType) -> str:
    """Returns TensorFlow's own name of a dtype, which its Python API changes: `float` instead of `float32`."""
    return DataType.Name(dtype.as_datatype_enum).removeprefix("DT_").lower()
