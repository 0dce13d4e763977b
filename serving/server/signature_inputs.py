"""Checks what is sent to a signature, in TF Serving's words; shapes are checked by the graph, as there.

Source of the texts: tensorflow_serving/servables/tensorflow/predict_util.cc, and what it calls in TensorFlow:
cc/saved_model/util.cc for names, core/framework/function.cc for types.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from serving.server.errors import ErrorCode, ServingError


class SignatureInputs:
    """What a signature takes.

    Args:
        definition: Of the signature.
    """

    def __init__(self, definition: SignatureDef) -> None:
        self.names = sorted(definition.inputs)
        self._types = {name: tf.dtypes.as_dtype(definition.inputs[name].dtype) for name in self.names}

    def in_order(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Returns the values of all inputs, in the order of `names`.

        Args:
            inputs: What a client has sent, by name.

        Raises:
            ServingError: Names or types are not those of the signature.
        """
        if inputs.keys() != self._types.keys():
            raise ServingError(ErrorCode.INVALID_ARGUMENT, self._other_names(inputs.keys()))
        for place, (name, expected) in enumerate(self._types.items()):
            values = inputs[name]
            if values.dtype != expected.as_numpy_dtype:
                found, wanted = _type_name(tf.dtypes.as_dtype(values.dtype)), _type_name(expected)
                message = f"Expects arg[{place}] to be {wanted} but {found} is provided"
                raise ServingError(ErrorCode.INVALID_ARGUMENT, f"{message} (input: {name})")
            if expected == tf.string and not all(isinstance(value, bytes) for value in values.flat):
                raise ServingError(ErrorCode.INVALID_ARGUMENT, f"tensor parsing error: {name}")
        return [inputs[name] for name in self.names]

    def _other_names(self, sent: Iterable[str]) -> str:
        given, expected = set(sent), set(self.names)
        if len(given) == len(expected):
            used = ",".join(sorted(given & expected))
            return f"Inputs contains invalid name. Used request inputs: {used}, request input: {_joined(given)}"
        return (
            f"input size does not match signature: {len(given)}!={len(expected)} len({{{_joined(given)}}}) != "
            f"len({{{_joined(expected)}}}). Sent extra: {{{_joined(given - expected)}}}. Missing but required: "
            f"{{{_joined(expected - given)}}}."
        )


def check_outputs(asked: Sequence[str], known: Iterable[str]) -> None:
    """Checks which outputs a client asks for.

    Args:
        asked: Their names.
        known: Those of the signature.

    Raises:
        ServingError: One is not there, or is asked for twice.
    """
    known = set(known)
    for place, name in enumerate(asked):
        if name not in known:
            message = f"output tensor alias not found in signature: {name}"
            expected = f"Outputs expected to be in the set {{{_joined(known)}}}."
            raise ServingError(ErrorCode.INVALID_ARGUMENT, f"{message} {expected}")
        if name in asked[:place]:
            raise ServingError(ErrorCode.INVALID_ARGUMENT, f"duplicate output tensor alias: {name}")


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _type_name(dtype: tf.DType) -> str:
    return DataType.Name(dtype.as_datatype_enum).removeprefix("DT_").lower()
