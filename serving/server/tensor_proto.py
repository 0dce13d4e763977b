"""TensorProtos to arrays and back, with the checks that a message from outside needs."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.server.json_tensor import invalid

# TF Serving answers in the field of the type, not in `tensor_content`, and its clients read that.
_VALUE_FIELDS = {
    np.dtype(np.float32): "float_val",
    np.dtype(np.float64): "double_val",
    np.dtype(np.int32): "int_val",
    np.dtype(np.int64): "int64_val",
    np.dtype(np.bool_): "bool_val",
    np.dtype(object): "string_val",
}

# What a text takes in an array, beside itself.
_REFERENCE_BYTES = 8


def tensor_from_proto(name: str, proto: TensorProto, max_bytes: int) -> np.ndarray:
    """Reads a tensor.

    Args:
        name: Of the input, for messages.
        proto: As it was sent.
        max_bytes: The most that it may take: a few bytes can declare any shape, since missing values are filled up.

    Returns:
        The tensor; texts as an array of `bytes` objects.

    Raises:
        ServingError: INVALID_ARGUMENT where type, shape and content do not fit together.
    """
    dtype = _dtype(name, proto)
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise invalid(f"tensor parsing error: {name}: its shape is {shape}, but each size has to be known")
    num_bytes = math.prod(shape) * (_REFERENCE_BYTES if dtype == tf.string else dtype.size)
    if num_bytes > max_bytes:
        raise invalid(f"tensor parsing error: {name}: shape {shape} takes more than {max_bytes:,} bytes")
    if proto.tensor_content and (dtype == tf.string or len(proto.tensor_content) != num_bytes):
        raise invalid(
            f"tensor parsing error: {name}: {len(proto.tensor_content):,} bytes of tensor_content are no "
            f"{dtype.name} of shape {shape}"
        )
    try:
        return tf.make_ndarray(proto)
    except (OverflowError, TypeError, ValueError) as error:
        raise invalid(f"tensor parsing error: {name}: {error}") from None


def fill_proto(proto: TensorProto, array: np.ndarray) -> None:
    """Writes a tensor.

    Args:
        proto: An empty one, which gets it.
        array: The tensor; texts as `bytes` objects.
    """
    field = _VALUE_FIELDS.get(array.dtype)
    if field is None:
        proto.CopyFrom(tf.make_tensor_proto(array))
        return
    proto.dtype = tf.string.as_datatype_enum if array.dtype == object else tf.as_dtype(array.dtype).as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(array.ravel().tolist())


def _dtype(name: str, proto: TensorProto) -> tf.DType:
    try:
        dtype = tf.dtypes.as_dtype(proto.dtype)
        # Some are types of handles, which have none.
        _ = dtype.as_numpy_dtype
        return dtype
    except (KeyError, TypeError):
        raise invalid(f"tensor parsing error: {name}: there is no type {proto.dtype}") from None
