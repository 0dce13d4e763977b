from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.errors import ServingError
from serving.server.rest_rows import tensors_from_rows

NUMBERS = {"image": TensorInfo(dtype=tf.float32.as_datatype_enum)}
TEXTS = {"text": TensorInfo(dtype=tf.string.as_datatype_enum)}
ELEMENT = "Failed to process element: {} of 'instances' list. "


def test_an_object_that_is_base64_is_a_value() -> None:
    assert tensors_from_rows({"instances": [{"b64": "AA=="}, "b"]}, TEXTS, 2)["text"].tolist() == [b"\x00", b"b"]


def test_rows_of_nested_texts_are_stacked() -> None:
    rows = tensors_from_rows({"instances": [["a", "b"], ["c", "d"]]}, TEXTS, 2)
    assert rows["text"].tolist() == [[b"a", b"b"], [b"c", b"d"]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"image": 1}, "Expecting 'instances' to be an list/array"),
        ([], "No values in 'instances' array"),
        ([1, 2, 3, 4], "Task size 4 is larger than maximum input batch size 3"),
        ([{"image": 1}, 2], "Expecting object but got list at item 1 of input list"),
        ([1, {"image": 2}], "Expecting value/list but got object at item 1 of input list"),
        ([{}], ELEMENT.format(0) + "JSON object: {} keys must be equal to: image"),
        (
            [{"image": 1}, {"image": 1, "size": 2}],
            "Failed to process element: 1 key: size of 'instances' list. "
            "Error: INVALID_ARGUMENT: JSON object: does not have named input: size",
        ),
        ([[1, 2], [3]], ELEMENT.format(1) + "Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1"),
        ([[1, 2], [[3], [4]]], ELEMENT.format(1) + "Error: INVALID_ARGUMENT: Expecting shape [2] but got: [2,1]"),
        (
            [1, "a"],
            ELEMENT.format(1) + 'Error: INVALID_ARGUMENT: JSON Value: "a" Type: String is not of expected type: float',
        ),
    ],
)
def test_the_row_that_is_wrong_is_named_in_tf_servings_words(rows: Any, message: str) -> None:
    with pytest.raises(ServingError) as raised:
        tensors_from_rows({"instances": rows}, NUMBERS, 3)
    assert message in raised.value.message


def test_plain_rows_are_refused_where_there_are_several_inputs() -> None:
    with pytest.raises(ServingError, match="instances is a plain list, but expecting list of objects as multiple"):
        tensors_from_rows({"instances": [1]}, {**NUMBERS, **TEXTS}, 3)
