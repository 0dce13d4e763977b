from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from components.trainer.model import build_model
from components.trainer.signatures import DigitAnswers, export_model

OUTPUTS = {"probabilities", "digit", "confidence", "status"}


@pytest.fixture(scope="module")
def answers(transform: tft.TFTransformOutput) -> DigitAnswers:
    tf.keras.utils.set_random_seed(1)
    return DigitAnswers(build_model(dropout=0.0), transform, temperature=0.5, low_confidence=0.99)


@pytest.fixture(scope="module")
def model_directory(answers: DigitAnswers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model") / "1"
    export_model(answers, str(directory))
    return directory


@pytest.fixture(scope="module")
def requests(make_requests: Callable[[np.ndarray], dict[str, Any]]) -> dict[str, Any]:
    images = np.zeros((5, 28, 28), np.uint8)
    # Normalized they are the same: they fill the box, and their centre of mass is a little below and right of its.
    images[:, 4:24, 4:24] = np.random.default_rng(0).integers(100, 256, (5, 20, 20), dtype=np.uint8)
    images[:, 18:23, 18:23] = 255
    return make_requests(images)


def test_every_signature_gives_the_same_answers_in_both_loaders(
    model_directory: Path,
    requests: dict[str, Any],
    eager_answers: Callable[[Path, dict[str, Any]], dict[str, np.ndarray]],
    session_answers: Callable[[Path, dict[str, Any]], dict[str, np.ndarray]],
) -> None:
    eager, session = (ask(model_directory, requests) for ask in (eager_answers, session_answers))
    for name in ("serving_default", "pixels", "examples"):
        np.testing.assert_allclose(eager[name], eager["pixels"], atol=1e-5)
        np.testing.assert_allclose(session[name], eager["pixels"], atol=1e-5)


def test_answers_follow_from_the_probabilities(answers: DigitAnswers, requests: dict[str, Any]) -> None:
    answer = answers.from_pixels(tf.constant(requests["pixels"]))
    assert set(answer) == OUTPUTS
    probabilities = answer["probabilities"].numpy()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(answer["digit"], probabilities.argmax(axis=-1))
    np.testing.assert_allclose(answer["confidence"], probabilities.max(axis=-1))
    assert answer["probabilities"].dtype == answer["confidence"].dtype == tf.float32
    assert answer["digit"].dtype == tf.int64


def test_probabilities_are_calibrated(
    answers: DigitAnswers, transform: tft.TFTransformOutput, requests: dict[str, Any]
) -> None:
    pixels = tf.constant(requests["pixels"])
    standardized = transform.transform_features_layer()({"image": tf.cast(pixels, tf.int64)[..., tf.newaxis]})["image"]
    logits = answers.model(standardized, training=False)
    np.testing.assert_allclose(
        answers.from_pixels(pixels)["probabilities"], tf.nn.softmax(logits / 0.5), rtol=1e-4, atol=1e-6
    )


def test_status(answers: DigitAnswers) -> None:
    faint = np.zeros((3, 28, 28), np.float32)
    faint[1, 5, 5], faint[2, 5, 5] = 31, 32
    answer = answers.from_pixels(tf.constant(faint))
    assert answer["status"].numpy().tolist() == [b"blank", b"blank", b"low_confidence"]
    assert answer["digit"].numpy().tolist()[:2] == [-1, -1]
    assert 0 <= answer["digit"].numpy()[2] <= 9
    np.testing.assert_allclose(answer["probabilities"][0], [0.1] * 10)


def test_status_of_a_confident_answer(
    answers: DigitAnswers, transform: tft.TFTransformOutput, requests: dict[str, Any]
) -> None:
    confident = DigitAnswers(answers.model, transform, temperature=0.5, low_confidence=0.0)
    images = requests["pixels"].copy()
    images[0] = 0
    answer = confident.from_pixels(tf.constant(images))
    assert answer["status"].numpy().tolist() == [b"blank"] + [b"ok"] * 4
    np.testing.assert_array_equal(answer["digit"][1:], tf.argmax(answer["probabilities"], axis=-1)[1:])


def test_an_empty_batch_gets_no_answers(model_directory: Path) -> None:
    signatures = tf.saved_model.load(str(model_directory)).signatures
    empty = {
        "pixels": {"image": tf.zeros([0, 28, 28])},
        "serving_default": {"image_bytes": tf.constant([], tf.string)},
        "examples": {"examples": tf.constant([], tf.string)},
    }
    for name, request in empty.items():
        assert {key: tuple(value.shape) for key, value in signatures[name](**request).items()} == {
            "probabilities": (0, 10),
            "digit": (0,),
            "confidence": (0,),
            "status": (0,),
        }


def test_numbers_outside_the_range_are_clipped(answers: DigitAnswers) -> None:
    wild = tf.constant([[[-50.0, 300.0] * 14] * 28])
    tame = tf.constant([[[0.0, 255.0] * 14] * 28])
    np.testing.assert_array_equal(
        answers.from_pixels(wild)["probabilities"], answers.from_pixels(tame)["probabilities"]
    )


def test_what_the_network_sees(model_directory: Path, requests: dict[str, Any]) -> None:
    signatures = tf.saved_model.load(str(model_directory)).signatures
    canvas = np.full((300, 200, 1), 250, np.uint8)
    canvas[60:240, 120:140] = 30
    encoded = tf.constant([*requests["serving_default"], tf.io.encode_png(canvas).numpy()])
    seen = signatures["normalize"](image_bytes=encoded)["image"]
    np.testing.assert_allclose(seen[:-1], requests["pixels"], atol=0.01)
    np.testing.assert_allclose(np.argwhere(seen[-1] > 128).mean(axis=0), 14, atol=0.6)
    answers = signatures["serving_default"](image_bytes=encoded)
    for name, expected in signatures["pixels"](image=seen).items():
        np.testing.assert_array_equal(answers[name], expected)


def test_a_page_without_ink_is_blank(answers: DigitAnswers) -> None:
    page = tf.io.encode_png(np.full((100, 80, 3), 244, np.uint8))
    answer = answers.from_image_bytes(page[tf.newaxis])
    assert (answer["status"].numpy().tolist(), answer["digit"].numpy().tolist()) == ([b"blank"], [-1])


def test_what_is_no_image_is_an_error_of_the_request(model_directory: Path) -> None:
    signature = tf.saved_model.load(str(model_directory)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes\[0\] is no PNG, JPEG, GIF or BMP file"):
        signature(image_bytes=tf.constant([b"no image"]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_an_error_of_the_request(answers: DigitAnswers, value: float) -> None:
    image = np.full((1, 28, 28), 100, np.float32)
    image[0, 3, 4] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match="a pixel is no number"):
        answers.from_pixels(tf.constant(image))


@pytest.mark.parametrize("shape", [(28, 27, 28), (28, 28, 27), (1, 28, 28, 1), (28, 28)])
def test_pixels_of_another_shape_are_an_error_of_the_request(model_directory: Path, shape: tuple[int, ...]) -> None:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(model_directory))
        signature = graph.signature_def["pixels"]
        options = CallableOptions(feed=[signature.inputs["image"].name], fetch=[signature.outputs["digit"].name])
        # Session.run would itself refuse the shape; TF Serving's session, which is the one below it, does not.
        ask = session._make_callable_from_options(options)
        assert ask(np.zeros((2, 28, 28), np.float32))[0].tolist() == [-1, -1]
        with pytest.raises(tf.errors.InvalidArgumentError, match="Shape of tensor"):
            ask(np.zeros(shape, np.float32))


def test_image_bytes_of_another_rank_are_an_error_of_the_request(model_directory: Path) -> None:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(model_directory))
        for name in ("serving_default", "normalize"):
            signature = graph.signature_def[name]
            (output, *_) = signature.outputs.values()
            options = CallableOptions(feed=[signature.inputs["image_bytes"].name], fetch=[output.name])
            with pytest.raises(tf.errors.InvalidArgumentError, match="Shape of tensor"):
                session._make_callable_from_options(options)(np.array([[b"a"]], object))
