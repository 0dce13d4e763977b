"""Bodies of requests to TF Serving's REST API, in row and column format.

Source: tensorflow.org/tfx/serving/api_rest, and `tensorflow_serving/util/json_tensor.cc` for what is said of a body
that is not as described there.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.errors import ServingError
from serving.server.json_tensor import dtype_of, invalid, is_named, shown, tensor_from_json
from serving.server.rest_rows import tensors_from_rows

TensorInfos = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class PredictBody:
    """What the body of a `:predict` request asks.

    Attributes:
        signature: As it was sent; empty for the default.
        inputs: Tensors under the names of the signature.
        is_row_format: Whether the answer is due in row format, too.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    is_row_format: bool


def parse_predict_body(body: bytes, find_inputs: Callable[[str], TensorInfos], max_batch_size: int) -> PredictBody:
    """Reads the body of a `:predict` request.

    Args:
        body: As it was sent.
        find_inputs: Gives the inputs of the signature of a name; raises where there is none.
        max_batch_size: The most images in a request.

    Raises:
        ServingError: INVALID_ARGUMENT where the body is not as the API says, or what `find_inputs` raises.
    """
    document = parse_document(body)
    signature = signature_name(document)
    infos = find_inputs(signature)
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    is_numeric = _has_only_numbers(body, document)
    if "instances" in document:
        tensors = tensors_from_rows(document, infos, max_batch_size, is_numeric=is_numeric)
        return PredictBody(signature, tensors, is_row_format=True)
    if "inputs" in document:
        return PredictBody(signature, _from_columns(document["inputs"], infos, is_numeric), is_row_format=False)
    raise invalid("Missing 'inputs' or 'instances' key")


def parse_document(body: bytes) -> dict[str, Any]:
    """Reads a body that has to be a JSON object.

    Raises:
        ServingError: INVALID_ARGUMENT where it is none.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    document = _parse_json(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """Reads the optional name of the signature; empty where there is none.

    Raises:
        ServingError: INVALID_ARGUMENT where it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def _parse_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # These words are no JSON, but TF Serving takes them; what they mean to the model is for the model to say.
        if b"NaN" not in body and b"Infinity" not in body:
            raise _parse_error(error) from None
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise _parse_error(error) from None
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from None


def _parse_error(error: json.JSONDecodeError) -> ServingError:
    return invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}")


def _has_only_numbers(body: bytes, document: Mapping[str, Any]) -> bool:
    """Says whether all texts of a body are its keys and what stands right behind them; if in doubt it says no."""
    texts = [*document, *(value for value in document.values() if isinstance(value, str))]
    if isinstance(columns := document.get("inputs"), dict):
        texts += columns
    return body.count(b'"') == 2 * len(texts) and not any(word in body for word in (b"true", b"false", b"null"))


def _from_columns(columns: Any, infos: TensorInfos, is_numeric: bool) -> dict[str, np.ndarray]:
    if not is_named(columns):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        columns = {next(iter(infos)): columns}
    for name in infos:
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    # As in TF Serving, other keys are passed over.
    return {
        name: tensor_from_json(columns[name], dtype_of(info), is_numeric=is_numeric) for name, info in infos.items()
    }
