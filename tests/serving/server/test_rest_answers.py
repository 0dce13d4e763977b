import json

import numpy as np
import pytest

from serving.server.errors import ServingError
from serving.server.rest_answers import error_answer, predict_answer

OUTPUTS = {
    "digit": np.array([3, -1]),
    "probabilities": np.array([[0.2, 0.8], [0.5, 0.5]], np.float32),
    "status": np.array([b"ok", "blänk".encode()], object),
    "image_bytes": np.array([b"\x00\xff", b""], object),
}


def test_row_format_has_an_object_for_each_row() -> None:
    rows = json.loads(predict_answer(OUTPUTS, is_row_format=True))["predictions"]
    first = {"digit": 3, "probabilities": [0.2, 0.8], "status": "ok", "image_bytes": {"b64": "AP8="}}
    assert rows[0] == first
    assert rows[1]["status"] == "blänk"


def test_column_format_has_a_list_for_each_output() -> None:
    columns = json.loads(predict_answer(OUTPUTS, is_row_format=False))["outputs"]
    assert columns["digit"] == [3, -1]
    assert columns["image_bytes"] == [{"b64": "AP8="}, {"b64": ""}]


def test_a_single_output_is_not_named() -> None:
    outputs = {"digit": np.array([3, -1])}
    assert json.loads(predict_answer(outputs, is_row_format=True)) == {"predictions": [3, -1]}
    assert json.loads(predict_answer(outputs, is_row_format=False)) == {"outputs": [3, -1]}


def test_numbers_are_written_as_short_as_their_type_allows() -> None:
    """0.2 as float32 is not 0.20000000298, and whole numbers stay floats, as in TF Serving."""
    answer = predict_answer({"p": np.array([0.2, 1], np.float32)}, is_row_format=False)
    assert answer == b'{"outputs":[0.2,1.0]}'


def test_an_array_that_is_no_block_of_memory_is_written_too() -> None:
    transposed = np.array([[1, 2], [3, 4]]).T
    assert predict_answer({"p": transposed}, is_row_format=False) == b'{"outputs":[[1,3],[2,4]]}'


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"a": np.array(1)}, "Tensor name: a has no shape information"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "Tensor name: b has inconsistent batch size: 3 expecting: 2"),
    ],
)
def test_what_rows_cannot_express_is_an_error(outputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ServingError, match=message):
        predict_answer(outputs, is_row_format=True)


def test_an_error_may_quote_half_a_character() -> None:
    assert json.loads(error_answer("\ud83d is no digit")) == {"error": "? is no digit"}
