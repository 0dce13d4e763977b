from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving.server.errors import ErrorCode, ServingError
from serving.server.json_tensor import NotPlainError, plain_tensor, tensor_from_json


def test_numbers_of_both_kinds_become_one_tensor() -> None:
    tensor = tensor_from_json([[1, 2.5], [-3, 1e39]], tf.float32)
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor, np.array([[1, 2.5], [-3, np.inf]], np.float32))


@pytest.mark.parametrize(("value", "shape"), [(7, ()), ([], (0,)), ([[], []], (2, 0)), ([[[1, 2, 3]]], (1, 1, 3))])
def test_the_nesting_is_the_shape(value: Any, shape: tuple[int, ...]) -> None:
    assert tensor_from_json(value, tf.int64).shape == shape


def test_texts_are_utf8_or_base64_and_keep_their_zeros() -> None:
    tensor = tensor_from_json(["ä", {"b64": "AP8A"}, {"b64": "AP8"}, {"b64": "AP\n8A"}], tf.string)
    assert tensor.tolist() == ["ä".encode(), b"\x00\xff\x00", b"\x00\xff", b"\x00\xff\x00"]


def test_nested_texts_and_booleans_are_converted_one_by_one() -> None:
    assert tensor_from_json([["a"], ["b"]], tf.string).tolist() == [[b"a"], [b"b"]]
    assert tensor_from_json([True, False], tf.bool).tolist() == [True, False]


@pytest.mark.parametrize("value", [["1"], [True], [None], [[1], [2, 3]], [[1], 2], [1, "1"], [{}], [[1], "a"]])
def test_the_quick_way_takes_numbers_only(value: Any) -> None:
    with pytest.raises(NotPlainError):
        plain_tensor(value, tf.float32)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (["a"], tf.float32, 'JSON Value: "a" Type: String is not of expected type: float'),
        ([1, True], tf.float32, "JSON Value: true Type: True is not of expected type: float"),
        ([None], tf.float64, "JSON Value: null Type: Null is not of expected type: double"),
        ([{"b64": "AA=="}], tf.float32, 'JSON Value: {"b64": "AA=="} Type: Object is not of expected type: float'),
        ([1.5], tf.int64, "JSON Value: 1.5 Type: Number is not of expected type: int64"),
        ([300], tf.uint8, "JSON Value: 300 Type: Number is not of expected type: uint8"),
        ([1], tf.string, "JSON Value: 1 Type: Number is not of expected type: string"),
        ([1], tf.bool, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ([{"b64": "*"}], tf.string, "Unable to base64 decode"),
        ([{"b65": "AA=="}], tf.string, 'JSON Value: {"b65": "AA=="} not formatted correctly for base64 data'),
        ([[1], [2, 3]], tf.float32, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ([1, [2]], tf.float32, "Encountered list at unexpected level: 1 expected < 1"),
        ([[1], 2], tf.float32, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([10**400], tf.float32, "A number is too large for float32."),
    ],
)
def test_what_does_not_fit_is_said_in_tf_servings_words(value: Any, dtype: tf.DType, message: str) -> None:
    with pytest.raises(ServingError) as raised:
        tensor_from_json(value, dtype)
    assert raised.value.message == message
    assert raised.value.code is ErrorCode.INVALID_ARGUMENT


def test_more_dimensions_than_a_tensor_has_are_refused() -> None:
    value: Any = 1
    for _ in range(500):
        value = [value]
    with pytest.raises(ServingError, match="nested 500 deep; a tensor has at most 64"):
        tensor_from_json(value, tf.float32)


def test_types_that_json_cannot_express_are_unimplemented() -> None:
    with pytest.raises(ServingError, match="Conversion of JSON Value: 1 to type: complex64") as raised:
        tensor_from_json([1], tf.complex64)
    assert raised.value.code is ErrorCode.UNIMPLEMENTED


def test_a_large_value_is_cut_in_the_message() -> None:
    with pytest.raises(ServingError) as raised:
        tensor_from_json([{"b65": "x" * 10_000}], tf.string)
    assert len(raised.value.message) < 400
