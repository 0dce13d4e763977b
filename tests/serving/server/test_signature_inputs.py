import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from serving.server.errors import ErrorCode, ServingError
from serving.server.signature_inputs import SignatureInputs, check_outputs

TEXTS = np.array([b"a\0"], object)
NUMBERS = np.zeros((1, 28, 28), np.float32)


@pytest.fixture(scope="module")
def two_inputs() -> SignatureInputs:
    definition = SignatureDef()
    definition.inputs["text"].dtype = tf.string.as_datatype_enum
    definition.inputs["image"].dtype = tf.float32.as_datatype_enum
    return SignatureInputs(definition)


def test_values_come_in_the_order_of_the_names(two_inputs: SignatureInputs) -> None:
    assert two_inputs.names == ["image", "text"]
    image, text = two_inputs.in_order({"text": TEXTS, "image": NUMBERS})
    assert image is NUMBERS
    assert text is TEXTS


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"image": NUMBERS},
            r"input size does not match signature: 1!=2 len\({image}\) != len\({image,text}\). "
            r"Sent extra: {}. Missing but required: {text}.",
        ),
        (
            {"image": NUMBERS, "text": TEXTS, "more": TEXTS},
            r"3!=2 len\({image,more,text}\) .* Sent extra: {more}. Missing but required: {}.",
        ),
        (
            {"image": NUMBERS, "other": TEXTS},
            "Inputs contains invalid name. Used request inputs: image, request input: image,other",
        ),
        (
            {"image": NUMBERS.astype(np.float64), "text": TEXTS},
            r"Expects arg\[0\] to be float but double is provided \(input: image\)",
        ),
        ({"image": NUMBERS, "text": NUMBERS}, r"Expects arg\[1\] to be string but float is provided \(input: text\)"),
        ({"image": NUMBERS, "text": np.array([b"a", 7], object)}, "tensor parsing error: text"),
    ],
)
def test_what_is_not_of_the_signature_is_refused_in_tf_servings_words(
    two_inputs: SignatureInputs, inputs: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ServingError, match=message) as error:
        two_inputs.in_order(inputs)
    assert error.value.code == ErrorCode.INVALID_ARGUMENT


def test_unknown_and_repeated_outputs_are_refused() -> None:
    check_outputs(["b", "a"], ["a", "b"])
    with pytest.raises(ServingError, match=r"not found in signature: c Outputs expected to be in the set {a,b}."):
        check_outputs(["a", "c"], ["b", "a"])
    with pytest.raises(ServingError, match="duplicate output tensor alias: a"):
        check_outputs(["a", "a"], ["a", "b"])
