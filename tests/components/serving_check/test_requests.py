import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.serving_check.requests import SIGNATURES, Kind, build_requests, encode_images
from registry.signatures import MAX_BATCH


def test_images_survive_their_encoding(images: np.ndarray) -> None:
    decoded = [tf.io.decode_png(png).numpy()[..., 0] for png in encode_images("serving_default", images)]
    np.testing.assert_array_equal(decoded, images)
    pixels = encode_images("pixels", images)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, images)
    spec = {"image": tf.io.FixedLenFeature([28, 28], tf.int64)}
    parsed = tf.io.parse_example(encode_images("examples", images), spec)["image"]
    np.testing.assert_array_equal(parsed, images)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_every_signature_gets_requests_of_every_kind(signature: str, images: np.ndarray) -> None:
    requests = list(build_requests(signature, images, huge_batch=24))
    kinds = [request.kind for request in requests]
    assert kinds[:4] == [Kind.GOOD, Kind.ALONE, Kind.EMPTY, Kind.HUGE]
    assert [len(request.values) for request in requests[:4]] == [8, 1, 0, 24]
    assert kinds[4:-1] == [Kind.MALFORMED, Kind.AFTERWARDS] * 5
    assert kinds[-1] == Kind.LATENCY
    assert [len(request.values) for request in requests[4:]] == [1] * 8 + [MAX_BATCH[signature] + 1, 1, 1]
    np.testing.assert_array_equal(requests[3].values, requests[0].values[np.arange(24) % 8])


def test_malformed_requests(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def malformed(signature: str) -> dict[str, np.ndarray]:
        requests = build_requests(signature, images, huge_batch=24)
        return {request.name: request.values for request in requests if request.kind == Kind.MALFORMED}

    assert np.isnan(malformed("pixels")["a NaN pixel"]).sum() == 1
    # Too large by its header alone.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    png = malformed("normalize")["a PNG of 30000 x 30000 pixels"][0]
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (30_000, 30_000)
    assert len(png) < 2000
