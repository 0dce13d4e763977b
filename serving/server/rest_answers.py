"""Bodies of the answers of TF Serving's REST API."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

from serving.server.json_tensor import BASE64_KEY, invalid
from serving.server.messages import VersionStatus

_BYTES_SUFFIX = "_bytes"


def predict_answer(outputs: Mapping[str, np.ndarray], *, is_row_format: bool) -> bytes:
    """Writes the answer to a `:predict` request.

    Args:
        outputs: Tensors under the names of the signature; in row format all of one length.
        is_row_format: Whether each row gets an object of its own.

    Raises:
        ServingError: INVALID_ARGUMENT where row format cannot express the outputs.
    """
    if is_row_format:
        document: dict[str, Any] = {"predictions": _rows(outputs)}
    else:
        columns = {name: _writable(name, array) for name, array in outputs.items()}
        document = {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def error_answer(message: str) -> bytes:
    """Writes the body of an answer that is an error."""
    # Messages quote what was sent, which may be cut within a character.
    return orjson.dumps({"error": message.encode("utf-8", "replace").decode()})


def status_answer(statuses: Sequence[VersionStatus]) -> bytes:
    """Writes the answer to a request for the status of a model."""
    versions = [
        {
            "version": str(each.version),
            "state": each.state,
            "status": {"error_code": each.error_code, "error_message": each.error_message},
        }
        for each in statuses
    ]
    return orjson.dumps({"model_version_status": versions}, option=orjson.OPT_INDENT_2)


def metadata_answer(name: str, version: int, signatures: Mapping[str, SignatureDef]) -> bytes:
    """Writes the answer to a request for the metadata of a model."""
    spec = {"name": name, "signature_name": "", "version": str(version)}
    metadata = {"signature_def": _as_json(SignatureDefMap(signature_def=signatures))}
    return orjson.dumps({"model_spec": spec, "metadata": metadata}, option=orjson.OPT_INDENT_2)


def _as_json(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _rows(outputs: Mapping[str, np.ndarray]) -> list[Any]:
    batch_size = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch_size not in (None, len(array)):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch_size}")
        batch_size = len(array)
    columns = [list(_writable(name, array)) for name, array in outputs.items()]
    if len(columns) == 1:
        return columns[0]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def _writable(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return np.ascontiguousarray(array)
    if name.endswith(_BYTES_SUFFIX):
        return _each(array.tolist(), lambda value: {BASE64_KEY: base64.b64encode(value).decode()})
    return _each(array.tolist(), lambda value: value.decode("utf-8", "replace"))


def _each(value: Any, convert: Callable[[bytes], Any]) -> Any:
    return [_each(item, convert) for item in value] if isinstance(value, list) else convert(value)
