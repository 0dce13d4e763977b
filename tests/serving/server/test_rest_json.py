import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.errors import ErrorCode, ServingError
from serving.server.rest_json import PredictBody, parse_predict_body

NUMBERS = {"image": TensorInfo(dtype=tf.float32.as_datatype_enum)}
TWO_INPUTS = {**NUMBERS, "name": TensorInfo(dtype=tf.string.as_datatype_enum)}


def parse(document: Any, infos: dict[str, TensorInfo] = NUMBERS) -> PredictBody:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_predict_body(body, lambda signature: infos, max_batch_size=16)


def test_the_signature_is_looked_up_under_the_name_that_was_sent() -> None:
    body = b'{"signature_name": "pixels", "inputs": [1]}'
    assert parse_predict_body(body, {"pixels": NUMBERS}.__getitem__, 16).signature == "pixels"
    assert parse_predict_body(b'{"inputs": [1]}', {"": NUMBERS}.__getitem__, 16).signature == ""


@pytest.mark.parametrize(
    ("document", "is_row_format"),
    [
        ({"instances": [[1, 2], [3, 4]]}, True),
        ({"instances": [{"image": [1, 2]}, {"image": [3, 4]}]}, True),
        ({"inputs": [[1, 2], [3, 4]]}, False),
        ({"inputs": {"image": [[1, 2], [3, 4]], "passed over": 1}}, False),
        ({"instances": [[1, 2], [3, 4]], "passed over": 1}, True),
    ],
)
def test_one_input_in_every_format(document: Any, is_row_format: bool) -> None:
    parsed = parse(document)
    np.testing.assert_array_equal(parsed.inputs["image"], np.array([[1, 2], [3, 4]], np.float32))
    assert parsed.is_row_format is is_row_format


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [{"image": [1], "name": "a"}, {"name": {"b64": "Yg=="}, "image": [2]}]},
        {"inputs": {"image": [[1], [2]], "name": ["a", "b"]}},
    ],
)
def test_several_inputs_in_both_formats(document: Any) -> None:
    inputs = parse(document, TWO_INPUTS).inputs
    assert inputs["name"].tolist() == [b"a", b"b"]
    assert inputs["image"].tolist() == [[1], [2]]


def test_nan_and_infinity_are_left_to_the_model() -> None:
    values = parse(b'{"instances": [NaN, -Infinity, 1]}').inputs["image"]
    np.testing.assert_array_equal(values, np.array([np.nan, -np.inf, 1], np.float32))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b'{"instances": [1', "JSON Parse error: unexpected end of data at offset: 16"),
        (b'{"instances": [NaN', "JSON Parse error: Expecting ',' delimiter at offset: 18"),
        (b'{"a": "NaN\xff"}', "JSON Parse error: 'utf-8' codec can't decode byte 0xff"),
        (b'{"a": NaN, "b": ' + b"[" * 100_000, "JSON Parse error: maximum recursion depth exceeded"),
        (b"[" * 100_000, "JSON Parse error: depth limit exceeded"),
        (b"[1]", "JSON Value: [1] Is not object"),
        ({"signature_name": 3}, "'signature_name' key must be a string value."),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": [1], "instances": [1]}, "expecting only one of 'inputs' or 'instances' keys to exist"),
        ({"inputs": {"img": [1]}}, "Missing named input: image in 'inputs' object."),
    ],
)
def test_what_is_no_request_is_said_in_tf_servings_words(document: Any, message: str) -> None:
    with pytest.raises(ServingError) as raised:
        parse(document)
    assert message in raised.value.message
    assert raised.value.code is ErrorCode.INVALID_ARGUMENT


def test_a_plain_value_is_refused_where_there_are_several_inputs() -> None:
    with pytest.raises(ServingError, match="inputs is a plain value/list, but expecting an object as multiple input"):
        parse({"inputs": [1]}, TWO_INPUTS)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"instances": [1, "2"]}', "is not of expected type: float"),
        (b'{"instances": [1, true]}', "is not of expected type: float"),
        (b'{"instances": [1, null]}', "is not of expected type: float"),
        (b'{"instances": [[1, 2], [3]]}', "Expecting tensor size: 2 but got: 1"),
        (b'{"instances": [1, [2]]}', "Expecting shape"),
        (b'{"inputs": [1, {}]}', "is not of expected type: float"),
        (b'{"inputs": {"image": ["1"]}}', "is not of expected type: float"),
    ],
)
def test_only_numbers_are_taken_for_numbers(body: bytes, message: str) -> None:
    with pytest.raises(ServingError, match=message):
        parse(body)
