import json
from typing import Any

import pytest
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from serving.server.classification import refuse_classification
from serving.server.errors import ErrorCode, ServingError

EXAMPLES = {"examples": [{"x": 1}]}


def signature(inputs: str, *outputs: str) -> SignatureDef:
    definition = SignatureDef()
    definition.inputs[inputs].name = "x:0"
    for output in outputs:
        definition.outputs[output].name = "y:0"
    return definition


@pytest.mark.parametrize(
    ("document", "definition", "method", "message"),
    [
        ({}, signature("x", "y"), "classify", "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, signature("x", "y"), "classify", "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, signature("x", "y"), "classify", "'examples' value is an empty array"),
        ({"examples": [1]}, signature("x", "y"), "classify", "Example must be JSON object but got JSON 1"),
        (
            {**EXAMPLES, "signature_name": "a"},
            signature("x", "y"),
            "classify",
            "No signature was found with the name: a",
        ),
        (EXAMPLES, signature("x", "a", "b", "c"), "classify", "Expected one or two output Tensors, found 3"),
        (EXAMPLES, signature("x", "a", "b"), "regress", "Expected one output Tensor."),
        (EXAMPLES, signature("x", "y"), "classify", "No classification inputs found in SignatureDef: inputs"),
        (EXAMPLES, signature("x", "y"), "regress", "No regression inputs found in SignatureDef: inputs"),
        (EXAMPLES, SignatureDef(), "classify", "Expected one input Tensor."),
    ],
)
def test_the_reason_is_said_in_tf_servings_words(
    document: Any, definition: SignatureDef, method: str, message: str
) -> None:
    with pytest.raises(ServingError) as raised:
        refuse_classification(json.dumps(document).encode(), method, lambda: {"serving_default": definition})
    assert message in raised.value.message
    assert raised.value.code is ErrorCode.INVALID_ARGUMENT


def test_a_model_that_could_classify_is_left_to_tf_serving() -> None:
    definition = signature("inputs", "scores")
    with pytest.raises(ServingError, match="answers :predict, not :classify, which TF Serving answers") as raised:
        refuse_classification(json.dumps(EXAMPLES).encode(), "classify", lambda: {"serving_default": definition})
    assert raised.value.code is ErrorCode.UNIMPLEMENTED
