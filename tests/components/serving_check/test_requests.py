import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.serving_check.requests import (
    Kind,
    Sample,
    build_requests,
    contract_signatures,
    encode_images,
    fitting_images,
)
from components.trainer.request_limits import MAX_EXAMPLES_BYTES
from registry.signatures import INPUTS, MAX_BATCH
from tests.support.examples import DIGITS, SHAPES

COLORS = np.random.default_rng(0).integers(0, 256, (8, *SHAPES.image_shape), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["gray", "color"])
def test_images_survive_their_encoding(images: np.ndarray, kind: str) -> None:
    images = images if kind == "gray" else COLORS
    decoded = [tf.io.decode_png(png).numpy() for png in encode_images("serving_default", images)]
    np.testing.assert_array_equal(decoded, images)
    pixels = encode_images("pixels", images)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, images[..., 0] if kind == "gray" else images)
    spec = {"image": tf.io.FixedLenFeature([], tf.string)}
    parsed = tf.io.parse_example(encode_images("examples", images), spec)["image"].numpy()
    np.testing.assert_array_equal([tf.io.decode_png(png).numpy() for png in parsed], images)


@pytest.mark.parametrize(("signature", "num_malformed"), [("pixels", 5), ("serving_default", 5), ("examples", 7)])
def test_every_signature_gets_requests_of_every_kind(signature: str, num_malformed: int, sample: Sample) -> None:
    requests = list(build_requests(signature, sample, huge_batch=24))
    kinds = [request.kind for request in requests]
    assert kinds[:4] == [Kind.GOOD, Kind.ALONE, Kind.EMPTY, Kind.HUGE]
    assert [len(request.values) for request in requests[:4]] == [8, 1, 0, 24]
    malformed = 2 * num_malformed
    assert kinds[4 : 4 + malformed] == [Kind.MALFORMED, Kind.AFTERWARDS] * num_malformed
    sizes = [len(request.values) for request in requests[4:]]
    assert sizes[: malformed + 1] == [1] * (malformed - 2) + [MAX_BATCH[signature] + 1, 1, 1]
    assert kinds[4 + malformed :] == [Kind.LATENCY, *([Kind.SENT] if signature == "serving_default" else [])]
    np.testing.assert_array_equal(requests[3].values, requests[0].values[np.arange(24) % 8])


def test_the_first_files_are_sent_in_batches(images: np.ndarray, make_sample: Any) -> None:
    files = [b"%d" % number for number in range(70)]
    sample = replace(make_sample(images, [*files, b"not sent"]), num_sent=70)
    requests = build_requests("serving_default", sample, huge_batch=24)
    sent = [request.values for request in requests if request.kind == Kind.SENT]
    assert [len(values) for values in sent] == [32, 32, 6]
    assert np.concatenate(sent).tolist() == files


def test_malformed_requests(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def malformed(signature: str, sample: Sample = sample) -> dict[str, np.ndarray]:
        requests = build_requests(signature, sample, huge_batch=24)
        return {request.name: request.values for request in requests if request.kind == Kind.MALFORMED}

    assert np.isnan(malformed("pixels")["a NaN pixel"]).sum() == 1
    assert malformed("pixels")["27 rows"].shape == (1, 27, 28)
    assert malformed("pixels", Sample(COLORS))["31 columns"].shape == (1, 20, 31, 3)
    # Too large by its header alone.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    png = malformed("normalize")["a PNG of 30000 x 30000 pixels"][0]
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (30_000, 30_000)
    assert len(png) < 2000


def test_requests_for_large_images_stay_within_the_limits_of_a_request() -> None:
    # 16 megapixels are 244 images. Noise does not compress.
    noise = np.random.default_rng(0).integers(0, 256, (300, 256, 256, 3), dtype=np.uint8)
    images = fitting_images(noise)
    assert len(images) == 244
    assert sum(map(len, encode_images("examples", images[:10]))) * 24.4 < MAX_EXAMPLES_BYTES
    requests = {
        name: list(build_requests(name, Sample(images[:2]), huge_batch=2048))
        for name in ("pixels", "serving_default", "examples")
    }
    huge = {name: len(request.values) for name in requests for request in requests[name] if request.kind == Kind.HUGE}
    assert huge == {"pixels": 244, "serving_default": 244, "examples": 244}
    # Half a gigabyte has no place for 2,049 images.
    assert "2049 images" not in {request.name for request in requests["pixels"]}


def test_the_signatures_are_those_of_the_contract() -> None:
    assert str(contract_signatures(DIGITS)["pixels"].inputs["image"]) == "float32[n,28,28]"
    assert str(contract_signatures(SHAPES)["pixels"].inputs["image"]) == "float32[n,20,32,3]"
    assert str(contract_signatures(SHAPES)["examples"].outputs["classes"]) == "string[n,3]"
    assert set(contract_signatures(SHAPES)) == set(INPUTS)
