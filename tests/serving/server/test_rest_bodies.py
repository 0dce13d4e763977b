import json
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.interface import ServingError
from serving.server.rest_bodies import PredictBody, error_body, parse_predict_body, predict_body

MAX_ROWS = 16


def infos(**dtypes: tf.DType) -> dict[str, TensorInfo]:
    return {name: TensorInfo(dtype=dtype.as_datatype_enum) for name, dtype in dtypes.items()}


NUMBERS = infos(image=tf.float32)
TWO_INPUTS = infos(image=tf.float32, name=tf.string)


def parse(document: Any, inputs: dict[str, TensorInfo] = NUMBERS) -> PredictBody:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_predict_body(body, lambda signature: inputs, MAX_ROWS)


def tensor(value: Any, dtype: tf.DType) -> np.ndarray:
    return parse({"inputs": value}, infos(x=dtype)).inputs["x"]


def refusal(document: Any, inputs: dict[str, TensorInfo] = NUMBERS) -> str:
    with pytest.raises(ServingError) as raised:
        parse(document, inputs)
    assert raised.value.code is grpc.StatusCode.INVALID_ARGUMENT
    return raised.value.message


def test_the_signature_is_found_by_its_name() -> None:
    body = b'{"signature_name": "pixels", "inputs": [1]}'
    assert parse_predict_body(body, {"pixels": NUMBERS}.__getitem__, MAX_ROWS).signature == "pixels"
    assert parse_predict_body(b'{"inputs": [1]}', {"": NUMBERS}.__getitem__, MAX_ROWS).signature == ""


@pytest.mark.parametrize(
    ("document", "is_row_format"),
    [
        ({"instances": [[1, 2], [3, 4]]}, True),
        ({"instances": [{"image": [1, 2]}, {"image": [3, 4]}]}, True),
        ({"inputs": [[1, 2], [3, 4]]}, False),
        ({"inputs": {"image": [[1, 2], [3, 4]], "ignored": 1}}, False),
        ({"instances": [[1, 2], [3, 4]], "ignored": 1}, True),
        ({"instances": [[1, 2], [3, 4]], "ignored": True}, True),
    ],
)
def test_one_input_in_every_format(document: Any, is_row_format: bool) -> None:
    parsed = parse(document)
    assert parsed.inputs["image"].dtype == np.float32
    assert parsed.inputs["image"].tolist() == [[1, 2], [3, 4]]
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


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([[1, 2.5], [-3, 1e39]], tf.float32, [[1, 2.5], [-3, np.inf]]),
        (["ä", {"b64": "AP8A"}, {"b64": "AP8"}], tf.string, ["ä".encode(), b"\x00\xff\x00", b"\x00\xff"]),
        ([{"b64": "AP\n8A"}], tf.string, [b"\x00\xff\x00"]),
        ([["a", "b"], ["c", "d"]], tf.string, [[b"a", b"b"], [b"c", b"d"]]),
        ([True, False], tf.bool, [True, False]),
        ([2**64 - 1], tf.uint64, [2**64 - 1]),
        (7, tf.int64, 7),
        ([], tf.int64, []),
        ([[], []], tf.int64, [[], []]),
    ],
)
def test_values_of_every_type_and_shape(value: Any, dtype: tf.DType, expected: Any) -> None:
    found = tensor(value, dtype)
    assert (found.tolist(), found.dtype) == (expected, dtype.as_numpy_dtype)


def test_nan_and_infinity_are_accepted() -> None:
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
        (b'{"inputs": [NaN, 1' + b"0" * 400 + b"]}", "A number is too large for float32."),
    ],
)
def test_malformed_bodies(document: Any, message: str) -> None:
    assert message in refusal(document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"inputs": [1]}, "inputs is a plain value/list, but expecting an object as multiple input tensors"),
        ({"instances": [1]}, "instances is a plain list, but expecting list of objects as multiple input tensors"),
    ],
)
def test_several_inputs_need_names(document: Any, message: str) -> None:
    assert message in refusal(document, TWO_INPUTS)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (["a"], tf.float32, 'JSON Value: "a" Type: String is not of expected type: float'),
        (["1"], tf.float32, 'JSON Value: "1" Type: String is not of expected type: float'),
        ([1, True], tf.float32, "JSON Value: true Type: True is not of expected type: float"),
        ([1, {}], tf.float32, "JSON Value: {} Type: Object is not of expected type: float"),
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
        ([["a"], "b"], tf.string, 'JSON Value: "b" found at incorrect level: 2 in the JSON DOM. Expected at level: 2'),
        ([[], {}], tf.float32, "JSON Value: {} found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    ],
)
def test_values_that_do_not_fit(value: Any, dtype: tf.DType, message: str) -> None:
    assert refusal(json.dumps({"inputs": value}).encode(), infos(x=dtype)) == message


def test_large_color_images_are_accepted() -> None:
    body = b'{"inputs": [[' + b",".join([b"[" + b",".join([b"[1,2,3]"] * 512) + b"]"] * 512) + b"]]}"
    assert parse(body).inputs["image"].shape == (1, 512, 512, 3)


def test_values_with_too_many_dimensions() -> None:
    body = b'{"inputs": ' + b"[" * 500 + b"1" + b"]" * 500 + b"}"
    assert "nested 500 deep; a tensor has at most 32" in refusal(body)


def test_types_that_json_cannot_express_are_unimplemented() -> None:
    with pytest.raises(ServingError, match="Conversion of JSON Value: 1 to type: complex64") as raised:
        tensor([1], tf.complex64)
    assert raised.value.code is grpc.StatusCode.UNIMPLEMENTED


def test_a_large_value_is_cut_in_the_message() -> None:
    assert len(refusal({"inputs": [{"b65": "x" * 10_000}]}, infos(x=tf.string))) < 400


ELEMENT = "Failed to process element: {} of 'instances' list. "
ERROR = ELEMENT + "Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"image": 1}, "Expecting 'instances' to be an list/array"),
        ([], "No values in 'instances' array"),
        ([1] * 17, "Task size 17 is larger than maximum input batch size 16"),
        ([{"image": 1}, 2], "Expecting object but got list at item 1 of input list"),
        ([1, {"image": 2}], "Expecting value/list but got object at item 1 of input list"),
        ([{}], ELEMENT.format(0) + "JSON object: {} keys must be equal to: image"),
        (
            [{"image": 1}, {"image": 1, "size": 2}],
            ERROR.format("1 key: size") + "JSON object: does not have named input: size",
        ),
        ([{"image": 1}, {"image": "a"}], ERROR.format("1 key: image") + 'JSON Value: "a" Type: String'),
        ([[1, 2], [3]], ERROR.format(1) + "Expecting tensor size: 2 but got: 1"),
        ([[1, 2], [[3], [4]]], ERROR.format(1) + "Expecting shape [2] but got: [2,1]"),
        ([1, "a"], ERROR.format(1) + 'JSON Value: "a" Type: String is not of expected type: float'),
        ([1, True], ERROR.format(1) + "JSON Value: true Type: True is not of expected type: float"),
    ],
)
def test_the_message_names_the_wrong_row(rows: Any, message: str) -> None:
    assert message in refusal({"instances": rows})


OUTPUTS = {
    "number": np.array([3, -1]),
    "probabilities": np.array([[0.2, 0.8], [0.5, 0.5]], np.float32),
    "status": np.array([b"ok", "blänk".encode()], object),
    "image_bytes": np.array([b"\x00\xff", b""], object),
}


def test_answers_in_row_and_column_format() -> None:
    rows = json.loads(predict_body(OUTPUTS, is_row_format=True))["predictions"]
    assert rows[0] == {"number": 3, "probabilities": [0.2, 0.8], "status": "ok", "image_bytes": {"b64": "AP8="}}
    assert rows[1]["status"] == "blänk"
    columns = json.loads(predict_body(OUTPUTS, is_row_format=False))["outputs"]
    assert columns["number"] == [3, -1]
    assert columns["image_bytes"] == [{"b64": "AP8="}, {"b64": ""}]


def test_a_single_output_has_no_name() -> None:
    outputs = {"number": np.array([3, -1])}
    assert predict_body(outputs, is_row_format=True) == b'{"predictions":[3,-1]}'
    assert predict_body(outputs, is_row_format=False) == b'{"outputs":[3,-1]}'


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        # 0.2 as float32 is not 0.20000000298, and whole numbers stay floats, as in TF Serving.
        (np.array([0.2, 1], np.float32), b"[0.2,1.0]"),
        # An array that is not contiguous.
        (np.array([[1, 2], [3, 4]]).T, b"[[1,3],[2,4]]"),
    ],
)
def test_numbers_in_answers(array: np.ndarray, expected: bytes) -> None:
    assert predict_body({"p": array}, is_row_format=False) == b'{"outputs":' + expected + b"}"


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"a": np.array(1)}, "Tensor name: a has no shape information"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "Tensor name: b has inconsistent batch size: 3 expecting: 2"),
    ],
)
def test_outputs_that_rows_cannot_express(outputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ServingError, match=message):
        predict_body(outputs, is_row_format=True)


def test_an_error_may_quote_half_a_surrogate_pair() -> None:
    assert json.loads(error_body("\ud83d is no digit")) == {"error": "? is no digit"}
