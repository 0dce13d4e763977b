"""What TF Serving answers to `:classify` and `:regress` where a model has signatures for `:predict` only, as ours."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from registry.signatures import SERVING_DEFAULT
from serving.server.errors import ErrorCode, ServingError
from serving.server.json_tensor import invalid, shown
from serving.server.rest_json import parse_document, signature_name


def refuse_classification(
    body: bytes, method: str, find_signatures: Callable[[], Mapping[str, SignatureDef]]
) -> NoReturn:
    """Says why a `:classify` or `:regress` request gets no answer, in TF Serving's words.

    The checks are those of `servables/tensorflow/classifier.cc` and `regressor.cc`, in their order.

    Args:
        body: As it was sent.
        method: `classify` or `regress`.
        find_signatures: Gives the signatures of the model; raises where there is no such model.

    Raises:
        ServingError: Always; UNIMPLEMENTED for a model that TF Serving would answer with.
    """
    document = parse_document(body)
    name = signature_name(document) or SERVING_DEFAULT
    _check_examples(document)
    signatures = find_signatures()
    if name not in signatures:
        raise invalid(f"No signature was found with the name: {name}")
    _check_signature(signatures[name], method)
    raise ServingError(
        ErrorCode.UNIMPLEMENTED, f"This development server answers :predict, not :{method}, which TF Serving answers."
    )


def _check_examples(document: dict[str, Any]) -> None:
    examples = document.get("examples")
    start = f"JSON Value: {shown(document)}"
    if "examples" not in document:
        raise invalid(f"{start} When method is classify, key 'examples' is expected and was not found")
    if not isinstance(examples, list):
        raise invalid(f"{start} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"{start} 'examples' value is an empty array")
    for example in examples:
        if not isinstance(example, dict):
            raise invalid(f"Example must be JSON object but got JSON {shown(example)}")


def _check_signature(signature: SignatureDef, method: str) -> None:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    num_outputs = len(signature.outputs)
    if method == "regress" and num_outputs != 1:
        raise invalid("Expected one output Tensor.")
    if num_outputs not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {num_outputs}")
    if "inputs" not in signature.inputs:
        kind = "regression" if method == "regress" else "classification"
        raise invalid(f"No {kind} inputs found in SignatureDef: {signature}")
