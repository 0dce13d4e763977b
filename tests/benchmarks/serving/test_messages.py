import base64

import numpy as np
import orjson
import pytest
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from benchmarks.serving.images import CANVAS_SIZE, Case, batch_positions, make_images
from benchmarks.serving.messages import Api, Expected, decode, encode
from benchmarks.serving.requests import make_mixed_requests, make_requests
from registry.signatures import PIXELS, SERVING_DEFAULT

EXPECTED = Expected(np.arange(128) % 10, np.array([b"ok"] * 128))
PNG_HEADER = b"\x89PNG\r\n\x1a\n"


def test_all_images_are_sent_and_the_last_request_is_filled_up() -> None:
    positions = [batch.tolist() for batch in batch_positions(4, np.arange(10))]
    assert positions == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]


def test_rest_pixels_are_rows_of_whole_numbers() -> None:
    images = make_images(PIXELS)
    request = make_requests(Api.REST, Case(PIXELS, 32), EXPECTED)[1]
    body = orjson.loads(request.content)
    assert body["signature_name"] == PIXELS
    np.testing.assert_array_equal(body["instances"], images[32:64])
    assert request.expected.digits.tolist() == EXPECTED.digits[32:64].tolist()


def test_rest_images_are_base64_of_canvases() -> None:
    (request, *_) = make_requests(Api.REST, Case(SERVING_DEFAULT, 2), EXPECTED)
    images = [base64.b64decode(row["b64"]) for row in orjson.loads(request.content)["instances"]]
    assert images == make_images(SERVING_DEFAULT)[:2].tolist()
    assert all(image.startswith(PNG_HEADER) for image in images)
    assert int.from_bytes(images[0][16:20]) == CANVAS_SIZE


@pytest.mark.parametrize(("signature", "input_name"), [(PIXELS, "image"), (SERVING_DEFAULT, "image_bytes")])
def test_grpc_requests_name_model_signature_and_input(signature: str, input_name: str) -> None:
    images = make_images(signature)[:3]
    request = PredictRequest.FromString(encode(Api.GRPC, signature, images, EXPECTED).content)
    assert (request.model_spec.name, request.model_spec.signature_name) == ("digits", signature)
    assert list(request.inputs) == [input_name]
    assert request.inputs[input_name].tensor_shape.dim[0].size == 3


def test_mixed_requests_take_turns() -> None:
    requests = make_mixed_requests(Api.GRPC, 1, {PIXELS: EXPECTED, SERVING_DEFAULT: EXPECTED})
    assert [request.signature for request in requests[:4]] == [PIXELS, SERVING_DEFAULT] * 2


@pytest.mark.parametrize("api", list(Api))
def test_an_error_page_is_no_answer(api: Api) -> None:
    with pytest.raises(ValueError, match="not an answer of the contract: b'<html>'"):
        decode(api, b"<html>")
