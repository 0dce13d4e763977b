from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from components.serving_check.graph_ops import foreign_ops, graph_ops


def test_ops_of_graphs_and_functions_are_found_and_calls_of_functions_are_none() -> None:
    saved_model = SavedModel()
    graph = saved_model.meta_graphs.add().graph_def
    graph.node.add(op="Placeholder")
    graph.node.add(op="scale")
    function = graph.library.function.add()
    function.signature.name = "scale"
    function.node_def.add(op="Mul")
    saved_model.meta_graphs.add().graph_def.node.add(op="Abs")
    assert graph_ops(saved_model) == {"Placeholder", "Mul", "Abs"}


def test_foreign_are_unknown_ops_and_those_that_call_python() -> None:
    ops = ["Conv2D", "VarHandleOp", "RestoreV2", "PyFunc", "EagerPyFunc", "PyFuncStateless", "DecodeDigits"]
    assert foreign_ops(ops) == ["DecodeDigits", "EagerPyFunc", "PyFunc", "PyFuncStateless"]
