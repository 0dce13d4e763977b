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
        sizes[name].append(signatures[name](**inputs)["digit"].shape[0])
    assert sizes == {name: [1, 1, 1, 32] for name in SIGNATURES}


def test_one_image_is_enough(images: np.ndarray) -> None:
    assert len(list(warm_up_requests(images[:1], "digits"))) == 12
