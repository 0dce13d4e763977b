import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.serving_check.contract import SIGNATURES
from components.serving_check.exchange import Kind, Request
from components.serving_check.limits import ServingLimits
from components.serving_check.requests import NUM_TIMED_REQUESTS, build_requests, encode_images


@pytest.fixture
def requests(images: np.ndarray, limits: ServingLimits) -> dict[str, list[Request]]:
    built = build_requests(images, SIGNATURES, limits)
    return {name: [request for request in built if request.signature == name] for name in SIGNATURES}


def test_images_survive_their_encoding(images: np.ndarray) -> None:
    decoded = [tf.io.decode_png(png).numpy()[..., 0] for png in encode_images("serving_default", images)]
    np.testing.assert_array_equal(decoded, images)
    assert encode_images("pixels", images).dtype == np.float32
    np.testing.assert_array_equal(encode_images("pixels", images), images)
    spec = {"image": tf.io.FixedLenFeature([28, 28], tf.int64)}
    parsed = tf.io.parse_example(encode_images("examples", images), spec)["image"]
    np.testing.assert_array_equal(parsed, images)


def test_every_signature_gets_requests_of_every_kind(requests: dict[str, list[Request]]) -> None:
    for of_signature in requests.values():
        kinds = [request.kind for request in of_signature]
        assert set(kinds) == set(Kind)
        assert kinds[0] == Kind.GOOD
        malformed = [place for place, kind in enumerate(kinds) if kind == Kind.MALFORMED]
        assert len(malformed) >= 3
        assert all(kinds[place + 1] == Kind.AFTERWARDS for place in malformed)


@pytest.mark.parametrize(
    ("kind", "num_images"),
    [(Kind.GOOD, 8), (Kind.ALONE, 1), (Kind.EMPTY, 0), (Kind.HUGE, 24), (Kind.AFTERWARDS, 1), (Kind.LATENCY, 1)],
)
def test_sizes(requests: dict[str, list[Request]], kind: Kind, num_images: int) -> None:
    for of_signature in requests.values():
        assert {len(request.values) for request in of_signature if request.kind == kind} == {num_images}


def test_the_huge_batch_repeats_the_good_one(requests: dict[str, list[Request]], images: np.ndarray) -> None:
    (huge,) = (request.values for request in requests["pixels"] if request.kind == Kind.HUGE)
    np.testing.assert_array_equal(huge, images[np.arange(24) % 8])


def test_only_latency_is_asked_again_and_again(requests: dict[str, list[Request]]) -> None:
    times = {(request.kind, request.times) for request in requests["examples"] if request.times > 1}
    assert times == {(Kind.LATENCY, NUM_TIMED_REQUESTS)}


def test_only_the_signatures_named_are_asked(images: np.ndarray, limits: ServingLimits) -> None:
    assert {request.signature for request in build_requests(images, ["pixels"], limits)} == {"pixels"}


def test_one_request_has_a_pixel_that_is_no_number(requests: dict[str, list[Request]]) -> None:
    broken = [int(np.isnan(request.values).sum()) for request in requests["pixels"] if request.kind == Kind.MALFORMED]
    assert sorted(broken) == [0, 0, 0, 1]


def test_one_request_is_too_large_by_its_header_alone(
    requests: dict[str, list[Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for name in ("serving_default", "normalize"):
        malformed = {request.name: request for request in requests[name] if request.kind == Kind.MALFORMED}
        png = malformed["a PNG of 30000 x 30000 pixels"].values[0]
        with Image.open(io.BytesIO(png)) as image:
            assert image.size == (30_000, 30_000)
        assert len(png) < 2000
