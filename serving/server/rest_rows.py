"""Row format of TF Serving's REST API: one entry of `instances` for each image, stacked into one tensor for each input.

Source: `FillTensorMapFromInstancesList` in `tensorflow_serving/util/json_tensor.cc`, for the messages, too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.errors import ServingError
from serving.server.json_tensor import (
    NotPlainError,
    as_array,
    checked_values,
    dtype_of,
    invalid,
    is_named,
    plain_tensor,
    shown,
)


def tensors_from_rows(
    document: Mapping[str, Any], infos: Mapping[str, TensorInfo], max_rows: int, *, is_numeric: bool = False
) -> dict[str, np.ndarray]:
    """Stacks the rows of a request into one tensor for each input.

    Args:
        document: Body of the request; its `instances` are values, or objects with one value for each input.
        infos: Inputs of the signature.
        max_rows: How many are converted at most.
        is_numeric: Whether nothing but numbers can be in the rows.

    Raises:
        ServingError: INVALID_ARGUMENT where the rows are not alike, or not as the signature says.
    """
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {shown(document)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {shown(document)} No values in 'instances' array")
    if len(rows) > max_rows:
        raise invalid(f"Task size {len(rows)} is larger than maximum input batch size {max_rows}")
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    try:
        columns = _transposed(rows, infos)
        return {
            name: plain_tensor(column, dtype_of(infos[name]), is_numeric=is_numeric) for name, column in columns.items()
        }
    except (NotPlainError, ServingError):
        # Row by row, because the message is to name the row.
        return _from_checked_rows(rows, infos)


def _transposed(rows: list[Any], infos: Mapping[str, TensorInfo]) -> dict[str, list[Any]]:
    if not is_named(rows[0]):
        return {next(iter(infos)): rows}
    if any(not isinstance(row, dict) or row.keys() != infos.keys() for row in rows):
        raise NotPlainError
    return {name: [row[name] for row in rows] for name in infos}


def _from_checked_rows(rows: list[Any], infos: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    values: dict[str, list[Any]] = {name: [] for name in infos}
    shapes: dict[str, tuple[int, ...]] = {}
    for index, row in enumerate(rows):
        for name, value in _named_values(index, row, rows[0], infos).items():
            try:
                found, shape = _checked_row(name, value, infos, shapes)
            except ServingError as error:
                key = f" key: {name}" if is_named(rows[0]) else ""
                raise invalid(
                    f"Failed to process element: {index}{key} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from None
            values[name] += found
            shapes[name] = shape
    return {
        name: as_array(values[name], dtype_of(infos[name])).reshape((len(rows), *shape))
        for name, shape in shapes.items()
    }


def _named_values(index: int, row: Any, first: Any, infos: Mapping[str, TensorInfo]) -> Mapping[str, Any]:
    if not is_named(first):
        if is_named(row):
            raise invalid(f"Expecting value/list but got object at item {index} of input list")
        return {next(iter(infos)): row}
    if not is_named(row):
        raise invalid(f"Expecting object but got list at item {index} of input list")
    if infos.keys() - row.keys():
        raise invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: {shown(row)} keys must be equal to: "
            + ",".join(sorted(infos))
        )
    return row


def _checked_row(
    name: str, value: Any, infos: Mapping[str, TensorInfo], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[Any], tuple[int, ...]]:
    if name not in infos:
        raise invalid(f"JSON object: does not have named input: {name}")
    found, shape = checked_values(value, dtype_of(infos[name]))
    expected = shapes.get(name, shape)
    if len(found) != np.prod(expected, dtype=int):
        raise invalid(f"Expecting tensor size: {np.prod(expected, dtype=int)} but got: {len(found)}")
    if shape != expected:
        raise invalid(f"Expecting shape {_shape_text(expected)} but got: {_shape_text(shape)}")
    return found, shape


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
