"""What an export says about itself: read from its file alone, so that it is known even where nothing can load it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from components.serving_check.graph_ops import graph_ops
from registry.signatures import Signature, TensorForm

_FILE = "saved_model.pb"


class ExportError(ValueError):
    """A folder that holds no export; the message says what is wrong."""


@dataclass(frozen=True)
class Export:
    """The description of a SavedModel.

    Attributes:
        ops: Names of all ops that it needs.
        signatures: Its signatures by name.
    """

    ops: frozenset[str]
    signatures: Mapping[str, Signature]


def read_export(model_path: str) -> Export:
    """Reads what a SavedModel says about itself.

    Args:
        model_path: Folder of the SavedModel.

    Raises:
        ExportError: There is none, it is damaged, or it holds nothing to serve.
    """
    file = os.path.join(model_path, _FILE)
    saved_model = _parse(file)
    # TF Serving asks for this set of tags.
    served = [graph for graph in saved_model.meta_graphs if set(graph.meta_info_def.tags) == {tf.saved_model.SERVING}]
    if not served:
        tags = [sorted(graph.meta_info_def.tags) for graph in saved_model.meta_graphs]
        raise ExportError(f"{file} has no graph tagged {[tf.saved_model.SERVING]}, only {tags}")
    signatures = {
        name: Signature(_forms(definition.inputs), _forms(definition.outputs))
        for name, definition in served[0].signature_def.items()
    }
    return Export(graph_ops(saved_model), signatures)


def _parse(file: str) -> SavedModel:
    if not tf.io.gfile.exists(file):
        raise ExportError(f"there is no {file}")
    try:
        with tf.io.gfile.GFile(file, "rb") as content:
            return SavedModel.FromString(content.read())
    except DecodeError as error:
        raise ExportError(f"{file} is damaged: {error}") from error


def _forms(tensors: Mapping[str, Any]) -> dict[str, TensorForm]:
    return {name: _form(tensor) for name, tensor in tensors.items()}


def _form(tensor: Any) -> TensorForm:
    try:
        dtype = tf.dtypes.as_dtype(tensor.dtype).name
    except TypeError:
        dtype = "unknown"
    if tensor.tensor_shape.unknown_rank:
        return TensorForm(dtype, None)
    return TensorForm(dtype, tuple(None if dim.size == -1 else dim.size for dim in tensor.tensor_shape.dim))
