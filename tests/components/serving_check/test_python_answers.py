from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.serving_check.contract import SIGNATURES
from components.serving_check.limits import ServingLimits
from components.serving_check.python_answers import python_answers
from components.serving_check.requests import build_requests


def test_the_good_request_is_answered_by_every_signature(
    good_export: Path, images: np.ndarray, limits: ServingLimits
) -> None:
    answers = python_answers(str(good_export), build_requests(images, SIGNATURES, limits))
    expected = tf.saved_model.load(str(good_export)).signatures["pixels"](image=tf.constant(images, tf.float32))
    assert list(answers) == list(SIGNATURES)
    for outputs in answers.values():
        np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"], atol=1e-6)
        assert outputs["status"].tolist() == expected["status"].numpy().tolist()


def test_what_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="SavedModel file does not exist"):
        python_answers(str(tmp_path), [])
