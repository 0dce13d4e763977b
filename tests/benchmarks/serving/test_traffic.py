import base64

import numpy as np
import orjson
import pytest
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from benchmarks.serving.traffic import APIS, CANVAS_SIZE, Answer, decode, make_images, make_requests, mixed_requests
from registry.signatures import PIXELS, SERVING_DEFAULT
from serving.server.metrics import Api

EXPECTED = Answer(np.arange(128) % 10, np.array([b"ok"] * 128))


def test_rest_pixels_are_rows_of_whole_numbers() -> None:
    request = make_requests("REST", PIXELS, 32, EXPECTED)[1]
    body = orjson.loads(request.content)
    assert body["signature_name"] == PIXELS
    np.testing.assert_array_equal(body["instances"], make_images(PIXELS)[32:64])
    assert request.expected.digits.tolist() == EXPECTED.digits[32:64].tolist()


def test_rest_images_are_base64_of_canvases() -> None:
    (request, *_) = make_requests("REST", SERVING_DEFAULT, 2, EXPECTED)
    images = [base64.b64decode(row["b64"]) for row in orjson.loads(request.content)["instances"]]
    assert images == make_images(SERVING_DEFAULT)[:2].tolist()
    assert int.from_bytes(images[0][16:20]) == CANVAS_SIZE


@pytest.mark.parametrize(("signature", "input_name"), [(PIXELS, "image"), (SERVING_DEFAULT, "image_bytes")])
def test_grpc_requests_name_model_signature_and_input(signature: str, input_name: str) -> None:
    request = PredictRequest.FromString(make_requests("GRPC", signature, 4, EXPECTED)[0].content)
    assert (request.model_spec.name, request.model_spec.signature_name) == ("digits", signature)
    assert list(request.inputs) == [input_name]
    assert request.inputs[input_name].tensor_shape.dim[0].size == 4


def test_mixed_requests_alternate_between_signatures() -> None:
    requests = mixed_requests("GRPC", {PIXELS: EXPECTED, SERVING_DEFAULT: EXPECTED})
    assert [request.signature for request in requests[:4]] == [PIXELS, SERVING_DEFAULT] * 2


@pytest.mark.parametrize("api", APIS)
def test_an_error_page_is_not_an_answer(api: Api) -> None:
    with pytest.raises(ValueError, match="not an answer of the contract: b'<html>'"):
        decode(api, b"<html>")
