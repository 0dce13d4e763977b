from pathlib import Path

import numpy as np
import tensorflow as tf

from components.serving_check.contract import SIGNATURES
from components.serving_check.warm_up import warm_up_requests


def test_every_request_runs(good_export: Path, images: np.ndarray) -> None:
    signatures = tf.saved_model.load(str(good_export)).signatures
    sizes: dict[str, list[int]] = {name: [] for name in SIGNATURES}
    for log in warm_up_requests(images, "digits"):
        request = log.predict_log.request
        assert request.model_spec.name == "digits"
        name = request.model_spec.signature_name
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        sizes[name].append(next(iter(signatures[name](**inputs).values())).shape[0])
    assert sizes == {name: [1, 1, 1, 32] for name in SIGNATURES}


def test_one_image_is_enough(images: np.ndarray) -> None:
    assert len(list(warm_up_requests(images[:1], "digits"))) == 16


def test_encoded_images_are_those_of_a_canvas(images: np.ndarray) -> None:
    (first, *_) = warm_up_requests(images, "digits")
    request = first.predict_log.request
    assert request.model_spec.signature_name == "serving_default"
    canvas = tf.io.decode_png(tf.make_ndarray(request.inputs["image_bytes"])[0])
    assert canvas.shape == (280, 280, 4)
    np.testing.assert_array_equal(canvas[5::10, 5::10], np.pad(images[0][..., np.newaxis], ((0, 0), (0, 0), (3, 0))))
