"""Converts the JSON bodies of TF Serving's REST API to tensors and back.

What is accepted, and the error messages, follow `tensorflow_serving/util/json_tensor.cc` and
https://www.tensorflow.org/tfx/serving/api_rest.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import grpc
import numpy as np
import orjson
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse, ModelVersionStatus

from serving.server.interface import MAX_RANK, ServingError, Tensors, invalid
from serving.server.model import type_name

TensorInfos = Mapping[str, TensorInfo]

_BASE64_KEY = "b64"
_BYTES_SUFFIX = "_bytes"
_MAX_QUOTED_CHARACTERS = 256
_MAX_LIST_BYTES = 200
_MAX_VALUE_BYTES = 70
_MEBIBYTE = 1024 * 1024
# 2,048 gray images of 28x28 pixels take 119 MiB, 64 color images of 64x64, with a list for each pixel, 103 MiB. Parsing
# holds the GIL.
_MAX_PARSED_BYTES = 160 * _MEBIBYTE


@dataclass(frozen=True)
class PredictBody:
    """The body of a `:predict` request.

    Attributes:
        signature: Name of the signature; empty for the default.
        inputs: Tensors by input name.
        is_row_format: Whether request and response have the row format.
    """

    signature: str
    inputs: Tensors
    is_row_format: bool


def parse_predict_body(
    body: bytes | bytearray, find_inputs: Callable[[str], TensorInfos], max_batch_size: int
) -> PredictBody:
    """Parses the body of a `:predict` request in row format (`instances`) or column format (`inputs`).

    Args:
        body: The body.
        find_inputs: Returns the inputs of a signature by its name; raises ServingError if it does not exist.
        max_batch_size: Maximum number of rows.

    Raises:
        ServingError: INVALID_ARGUMENT if the body is malformed or does not match the signature.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    _check_size(body)
    document = _parse_json(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_quoted(document)} Is not object")
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise invalid(
            f"JSON Value: {_quoted(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    infos = find_inputs(signature)
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {_quoted(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    only_numbers = _has_only_numbers(body, document)
    if "instances" in document:
        return PredictBody(signature, _from_rows(document, infos, max_batch_size, only_numbers), is_row_format=True)
    if "inputs" in document:
        return PredictBody(signature, _from_columns(document["inputs"], infos, only_numbers), is_row_format=False)
    raise invalid("Missing 'inputs' or 'instances' key")


def predict_body(outputs: Tensors, *, is_row_format: bool) -> bytes:
    """Returns the response body for a `:predict` request.

    Args:
        outputs: Tensors by output name; in row format all of the same length.
        is_row_format: Whether to write one object per row.

    Raises:
        ServingError: INVALID_ARGUMENT if the row format cannot express the outputs.
    """
    document: dict[str, Any] = {}
    if is_row_format:
        document["predictions"] = _rows(outputs)
    else:
        columns = {name: _to_json(name, array) for name, array in outputs.items()}
        document["outputs"] = columns if len(columns) > 1 else next(iter(columns.values()))
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def error_body(message: str) -> bytes:
    """Returns the body of an error response."""
    # A message may quote half of a surrogate pair.
    return orjson.dumps({"error": message.encode("utf-8", "replace").decode()})


def status_body(statuses: Sequence[ModelVersionStatus]) -> bytes:
    """Returns the response body for the status of a model."""
    document = _message_to_json(GetModelStatusResponse(model_version_status=statuses))
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def metadata_body(name: str, version: int, signatures: Mapping[str, SignatureDef]) -> bytes:
    """Returns the response body for the metadata of a model."""
    spec = {"name": name, "signature_name": "", "version": str(version)}
    metadata = {"signature_def": _message_to_json(SignatureDefMap(signature_def=signatures))}
    return orjson.dumps({"model_spec": spec, "metadata": metadata}, option=orjson.OPT_INDENT_2)


def _check_size(body: bytes | bytearray) -> None:
    """Refuses a body that would take seconds and many times its size in memory to parse."""
    if len(body) * _MAX_LIST_BYTES <= _MAX_PARSED_BYTES:
        return
    codes = np.frombuffer(body, np.uint8)
    num_lists, num_values = (sum(np.count_nonzero(codes == code) for code in marks) for marks in (b"[{", b","))
    num_bytes = num_lists * _MAX_LIST_BYTES + num_values * _MAX_VALUE_BYTES
    if num_bytes > _MAX_PARSED_BYTES:
        raise invalid(
            f"The JSON has {num_lists:,} lists and objects and {num_values:,} values, which may take "
            f"{num_bytes // _MEBIBYTE:,} MiB; at most {_MAX_PARSED_BYTES // _MEBIBYTE} MiB are accepted. Send fewer "
            "images per request, or use gRPC."
        )


def _parse_json(body: bytes | bytearray) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # TF Serving accepts these two, although they are not JSON.
        if b"NaN" not in body and b"Infinity" not in body:
            raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from None


def _has_only_numbers(body: bytes | bytearray, document: Mapping[str, Any]) -> bool:
    """Returns whether all strings of a body are keys or top-level values, which saves a check of every number."""
    strings = [*document, *(value for value in document.values() if isinstance(value, str))]
    if isinstance(columns := document.get("inputs"), dict):
        strings += columns
    return body.count(b'"') == 2 * len(strings) and not any(word in body for word in (b"true", b"false", b"null"))


def _from_columns(columns: Any, infos: TensorInfos, only_numbers: bool) -> Tensors:
    if not _is_named(columns):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        columns = {next(iter(infos)): columns}
    for name in infos:
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    # TF Serving, too, ignores other keys.
    return {name: _to_tensor(columns[name], info, only_numbers) for name, info in infos.items()}


def _from_rows(document: Mapping[str, Any], infos: TensorInfos, max_rows: int, only_numbers: bool) -> Tensors:
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {_quoted(document)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {_quoted(document)} No values in 'instances' array")
    if len(rows) > max_rows:
        raise invalid(f"Task size {len(rows)} is larger than maximum input batch size {max_rows}")
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    columns = _transposed(rows, infos)
    try:
        return {name: _to_tensor(column, infos[name], only_numbers) for name, column in columns.items()}
    except ServingError:
        # The message of the first wrong row is more helpful.
        _check_rows(columns, infos, _is_named(rows[0]))
        raise


def _transposed(rows: list[Any], infos: TensorInfos) -> dict[str, list[Any]]:
    if not _is_named(rows[0]):
        for index, row in enumerate(rows):
            if _is_named(row):
                raise invalid(f"Expecting value/list but got object at item {index} of input list")
        return {next(iter(infos)): rows}
    for index, row in enumerate(rows):
        if not _is_named(row):
            raise invalid(f"Expecting object but got list at item {index} of input list")
        if infos.keys() - row.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {_quoted(row)} keys must be "
                f"equal to: {','.join(sorted(infos))}"
            )
        if unknown := row.keys() - infos.keys():
            name = min(unknown)
            raise _row_error(index, name, invalid(f"JSON object: does not have named input: {name}"))
    return {name: [row[name] for row in rows] for name in infos}


def _check_rows(columns: Mapping[str, list[Any]], infos: TensorInfos, is_named: bool) -> None:
    """Raises the error of the first row that has a wrong value or another shape than the rows before."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, row in enumerate(zip(*columns.values(), strict=True)):
        for name, value in zip(columns, row, strict=True):
            try:
                shape = _shape(value)
                _check_value(value, 0, shape, _dtype(infos[name]))
                _check_shape(shape, shapes.setdefault(name, shape))
            except ServingError as error:
                raise _row_error(index, name if is_named else "", error) from None


def _check_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if math.prod(shape) != math.prod(expected):
        raise invalid(f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(shape)}")
    if shape != expected:
        wanted, found = (",".join(map(str, each)) for each in (expected, shape))
        raise invalid(f"Expecting shape [{wanted}] but got: [{found}]")


def _row_error(index: int, name: str, error: ServingError) -> ServingError:
    key = f" key: {name}" if name else ""
    reason = f"{error.code.name}: {error.message}"
    return invalid(f"Failed to process element: {index}{key} of 'instances' list. Error: {reason}")


def _to_tensor(value: Any, info: TensorInfo, only_numbers: bool) -> np.ndarray:
    """Converts a value whose nesting is the shape."""
    dtype, shape = _dtype(info), _shape(value)
    try:
        return _to_array(_flattened(value, shape), dtype, only_numbers).reshape(shape)
    except (OverflowError, TypeError, ValueError):
        _check_value(value, 0, shape, dtype)
        raise invalid(f"A number is too large for {dtype.name}.") from None


def _to_array(values: list[Any], dtype: tf.DType, only_numbers: bool) -> np.ndarray:
    if dtype == tf.string:
        array = np.empty(len(values), object)
        array[:] = [_to_bytes(value) for value in values]
        return array
    # NumPy alone would convert strings and booleans to numbers.
    if not (only_numbers and dtype.is_floating) and not set(map(type, values)) <= _json_types(dtype):
        raise TypeError
    # TF Serving, too, reads 1e39 as an infinite float32.
    with np.errstate(over="ignore"):
        return np.array(values, dtype.as_numpy_dtype)


def _json_types(dtype: tf.DType) -> set[type]:
    if dtype.is_floating:
        return {int, float}
    if dtype.is_integer:
        return {int}
    return {bool} if dtype.is_bool else set()


def _shape(value: Any) -> tuple[int, ...]:
    """Returns the shape of a value, as far as its first elements tell."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    if len(shape) > MAX_RANK:
        raise invalid(f"Lists are nested {len(shape)} deep; a tensor has at most {MAX_RANK} dimensions.")
    return tuple(shape)


def _flattened(value: Any, shape: tuple[int, ...]) -> list[Any]:
    values = value if shape else [value]
    for size in shape[1:]:
        if any(not isinstance(each, list) or len(each) != size for each in values):
            raise ValueError
        values = list(chain.from_iterable(values))
    return values


def _check_value(value: Any, level: int, shape: tuple[int, ...], dtype: tf.DType) -> None:
    """Raises the error of the first element that is at the wrong level or of the wrong type."""
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {_quoted(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        _check_element(value, dtype)
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for each in value:
        _check_value(each, level + 1, shape, dtype)


def _check_element(value: Any, dtype: tf.DType) -> None:
    types = _json_types(dtype)
    if dtype == tf.string:
        _to_bytes(value)
    elif not types:
        message = f"Conversion of JSON Value: {_quoted(value)} to type: {dtype.name}"
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, message)
    elif type(value) not in types or (dtype.is_integer and not dtype.min <= value <= dtype.max):
        raise _type_error(value, dtype)


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not isinstance(value, dict):
        raise _type_error(value, tf.string)
    if _is_named(value):
        raise invalid(f"JSON Value: {_quoted(value)} not formatted correctly for base64 data")
    text = value[_BASE64_KEY]
    with suppress(ValueError):
        return binascii.a2b_base64(text, strict_mode=True)
    # TF Serving, too, skips line breaks and does not need the padding.
    text = "".join(text.split())
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise invalid("Unable to base64 decode") from None


def _is_named(value: Any) -> bool:
    """Returns whether a value is an object other than `{"b64": "..."}`."""
    return isinstance(value, dict) and not (len(value) == 1 and isinstance(value.get(_BASE64_KEY), str))


def _dtype(info: TensorInfo) -> tf.DType:
    return tf.dtypes.as_dtype(info.dtype)


def _type_error(value: Any, dtype: tf.DType) -> ServingError:
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    found = "Null" if value is None else names.get(type(value), str(value))
    return invalid(f"JSON Value: {_quoted(value)} Type: {found} is not of expected type: {type_name(dtype)}")


def _quoted(value: Any) -> str:
    """Returns the beginning of a JSON value for an error message."""
    text = ""
    # Encodes no more of a large value than it returns.
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += piece
        if len(text) >= _MAX_QUOTED_CHARACTERS:
            break
    return text[:_MAX_QUOTED_CHARACTERS]


def _message_to_json(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _rows(outputs: Tensors) -> list[Any]:
    batch_size = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch_size not in (None, len(array)):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch_size}")
        batch_size = len(array)
    columns = [list(_to_json(name, array)) for name, array in outputs.items()]
    if len(columns) == 1:
        return columns[0]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def _to_json(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return np.ascontiguousarray(array)
    to_json = _to_base64 if name.endswith(_BYTES_SUFFIX) else _to_text
    values = np.empty(array.size, object)
    values[:] = [to_json(value) for value in array.flat]
    return values.reshape(array.shape).tolist()


def _to_base64(value: bytes) -> dict[str, str]:
    return {_BASE64_KEY: base64.b64encode(value).decode()}


def _to_text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
