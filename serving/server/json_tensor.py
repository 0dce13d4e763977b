"""Tensors in TF Serving's JSON: nested lists, and strings as text or `{"b64": ...}`.

What is accepted and what is said of the rest follows `tensorflow_serving/util/json_tensor.cc`.
"""

import binascii
import json
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.errors import ErrorCode, ServingError

BASE64_KEY = "b64"

_MAX_SHOWN_CHARACTERS = 256
# NumPy's own limit.
_MAX_RANK = 64


class NotPlainError(Exception):
    """A value that the quick way cannot convert; the slow one does, or says what is wrong with it."""


def tensor_from_json(value: Any, dtype: tf.DType, *, is_numeric: bool = False) -> np.ndarray:
    """Converts a value whose nesting gives the shape.

    Args:
        value: What the JSON parser made of it.
        dtype: Type of the tensor.
        is_numeric: Whether nothing but numbers can be in it.

    Raises:
        ServingError: INVALID_ARGUMENT where it is ragged, or holds something of another type.
    """
    try:
        return plain_tensor(value, dtype, is_numeric=is_numeric)
    except NotPlainError:
        values, shape = checked_values(value, dtype)
        return as_array(values, dtype).reshape(shape)


def plain_tensor(value: Any, dtype: tf.DType, *, is_numeric: bool = False) -> np.ndarray:
    """Converts a regular value at once.

    Args:
        value: What the JSON parser made of it.
        dtype: Type of the tensor.
        is_numeric: Whether nothing but numbers can be in it, so that nobody has to look.

    Raises:
        NotPlainError: It is ragged, or not clearly of that type.
        ServingError: INVALID_ARGUMENT where it is a list of texts and something else.
    """
    if dtype == tf.string:
        if not isinstance(value, list) or any(isinstance(each, list) for each in value):
            raise NotPlainError
        return as_array([_string(each, dtype) for each in value], dtype)
    shape = _dense_shape(value)
    numbers = _flattened(value, shape)
    if is_numeric and dtype.is_floating:
        return _floats(numbers, dtype).reshape(shape)
    # NumPy alone would read numbers out of texts and booleans, and make texts of numbers.
    if not set(map(type, numbers)) <= _fitting_types(dtype):
        raise NotPlainError
    try:
        # JSON knows no infinity, but 1e39 is one as float32, in TF Serving as well.
        with np.errstate(over="ignore"):
            array = np.fromiter(numbers, np.int64 if dtype.is_integer else dtype.as_numpy_dtype, len(numbers))
    except OverflowError:
        raise NotPlainError from None
    if dtype.is_integer and array.size and not (dtype.min <= array.min() and array.max() <= dtype.max):
        raise NotPlainError
    return array.astype(dtype.as_numpy_dtype, copy=False).reshape(shape)


def _floats(numbers: list[Any], dtype: tf.DType) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            return np.array(numbers, dtype.as_numpy_dtype)
    except (OverflowError, TypeError, ValueError):
        raise NotPlainError from None


def as_array(values: list[Any], dtype: tf.DType) -> np.ndarray:
    """Makes a vector of checked values; texts stay `bytes` objects."""
    if dtype != tf.string:
        try:
            with np.errstate(over="ignore"):
                return np.array(values, dtype.as_numpy_dtype)
        except OverflowError:
            raise invalid(f"A number is too large for {dtype.name}.") from None
    array = np.empty(len(values), object)
    array[:] = values
    return array


def checked_values(value: Any, dtype: tf.DType) -> tuple[list[Any], tuple[int, ...]]:
    """Flattens a value.

    Returns:
        The elements in row-major order, and the shape.

    Raises:
        ServingError: INVALID_ARGUMENT where it is ragged, or holds something of another type.
    """
    shape = _dense_shape(value)
    values: list[Any] = []
    _fill(value, 0, shape, dtype, values)
    return values, shape


def is_base64_object(value: Any) -> bool:
    """Says whether a JSON value is `{"b64": "..."}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(BASE64_KEY), str)


def is_named(value: Any) -> bool:
    """Says whether a JSON value is an object with values under the names of inputs."""
    return isinstance(value, dict) and not is_base64_object(value)


def dtype_of(info: TensorInfo) -> tf.DType:
    """Gives the type of an input of a signature."""
    return tf.dtypes.as_dtype(info.dtype)


def shown(value: Any) -> str:
    """Shows the beginning of a JSON value in an error message."""
    text = ""
    # A large value is not written as a whole to be cut.
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += piece
        if len(text) >= _MAX_SHOWN_CHARACTERS:
            break
    return text[:_MAX_SHOWN_CHARACTERS]


def invalid(message: str) -> ServingError:
    """Makes the error of a request that is not formed as the API says."""
    return ServingError(ErrorCode.INVALID_ARGUMENT, message)


def _flattened(value: Any, shape: tuple[int, ...]) -> list[Any]:
    values = value if shape else [value]
    try:
        for size in shape[1:]:
            if set(map(len, values)) != {size}:
                raise NotPlainError
            values = list(chain.from_iterable(values))
    except TypeError:
        raise NotPlainError from None
    return values


def _fitting_types(dtype: tf.DType) -> set[type]:
    if dtype.is_floating:
        return {int, float}
    return {int} if dtype.is_integer else set()


def _dense_shape(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    if len(shape) > _MAX_RANK:
        raise invalid(f"Lists are nested {len(shape)} deep; a tensor has at most {_MAX_RANK} dimensions.")
    return tuple(shape)


def _fill(value: Any, level: int, shape: tuple[int, ...], dtype: tf.DType, values: list[Any]) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        values.append(_element(value, dtype))
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for each in value:
        _fill(each, level + 1, shape, dtype, values)


def _element(value: Any, dtype: tf.DType) -> Any:
    if dtype == tf.string:
        return _string(value, dtype)
    if dtype == tf.bool:
        is_fitting = isinstance(value, bool)
    elif dtype.is_floating:
        is_fitting = _is_number(value)
    elif dtype.is_integer:
        is_fitting = _is_number(value) and isinstance(value, int) and dtype.min <= value <= dtype.max
    else:
        raise ServingError(ErrorCode.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(value)} to type: {dtype.name}")
    if not is_fitting:
        raise _type_error(value, dtype)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _string(value: Any, dtype: tf.DType) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not isinstance(value, dict):
        raise _type_error(value, dtype)
    if not is_base64_object(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    return _decode_base64(value[BASE64_KEY])


def _decode_base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        # As TF Serving's decoder: line breaks are skipped, and the padding may be left out.
        joined = "".join(text.split())
    try:
        return binascii.a2b_base64(joined + "=" * (-len(joined) % 4), strict_mode=True)
    except ValueError:
        raise invalid("Unable to base64 decode") from None


def _type_error(value: Any, dtype: tf.DType) -> ServingError:
    # TensorFlow's own name of the type, which its Python interface changes.
    expected = {tf.float32: "float", tf.float64: "double"}.get(dtype, dtype.name)
    return invalid(f"JSON Value: {shown(value)} Type: {_json_type(value)} is not of expected type: {expected}")


def _json_type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "Null" if value is None else str(value)
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]
