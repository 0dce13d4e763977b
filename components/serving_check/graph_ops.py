"""Which ops an export needs, and which of them TF Serving does not have."""

from collections.abc import Iterable

import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

_PYTHON_CALLBACKS = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless"})
"""Core ops that call back into the Python process that made the graph, which is not there where it is served."""


def graph_ops(saved_model: SavedModel) -> frozenset[str]:
    """Collects the names of the ops in all graphs of an export and in all functions of their libraries."""
    ops: set[str] = set()
    for meta_graph in saved_model.meta_graphs:
        library = meta_graph.graph_def.library.function
        ops.update(node.op for node in meta_graph.graph_def.node)
        ops.update(node.op for function in library for node in function.node_def)
        # A node may call a function by its name as if that were an op.
        ops.difference_update(function.signature.name for function in library)
    return frozenset(ops)


def foreign_ops(ops: Iterable[str]) -> list[str]:
    """Finds the ops that are not TensorFlow's own.

    It must be asked in a process that has imported TensorFlow and nothing else: any library may register ops of its
    own, as TFX's do.

    Args:
        ops: Names of ops.

    Returns:
        Those that are not registered, or that call Python, sorted.
    """
    return sorted(op for op in ops if op in _PYTHON_CALLBACKS or not hasattr(tf.raw_ops, op))
