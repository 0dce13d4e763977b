from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from scipy.special import softmax
from tensorflow.core.protobuf.config_pb2 import CallableOptions
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from components.trainer.hyperparameters import Hyperparameters
from components.trainer.model import build_model
from components.trainer.outliers import OutlierDetector
from components.trainer.request_limits import MAX_EXAMPLES_BYTES, MAX_IMAGE_NAMES
from components.trainer.signatures import ServingModel, export_model, fit_temperature
from registry.signatures import ANSWER_OUTPUTS, INPUTS, MAX_BATCH
from tests.support.examples import DIGITS, png, serialize


@pytest.fixture(scope="module")
def serving_model(transform: tft.TFTransformOutput) -> ServingModel:
    tf.keras.utils.set_random_seed(1)
    hyperparameters = Hyperparameters()
    model = build_model(DIGITS, hyperparameters)
    return ServingModel(model, transform, DIGITS, temperature=0.5, hyperparameters=hyperparameters)


@pytest.fixture(scope="module")
def model_directory(serving_model: ServingModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model") / "1"
    export_model(serving_model, str(directory))
    return directory


@pytest.fixture(scope="module")
def requests(make_requests: Callable[[np.ndarray], dict[str, Any]]) -> dict[str, Any]:
    images = np.zeros((5, 28, 28), np.uint8)
    # Normalization keeps them: they fill the box, and their center of mass is slightly below and right of its.
    images[:, 4:24, 4:24] = np.random.default_rng(0).integers(100, 256, (5, 20, 20), dtype=np.uint8)
    images[:, 18:23, 18:23] = 255
    return make_requests(images)


def test_every_signature_returns_the_same_predictions_in_both_loaders(
    model_directory: Path,
    requests: dict[str, Any],
    eager_answers: Callable[[Path, dict[str, Any]], dict[str, np.ndarray]],
    session_answers: Callable[[Path, dict[str, Any]], dict[str, np.ndarray]],
) -> None:
    eager, session = (ask(model_directory, requests) for ask in (eager_answers, session_answers))
    for name in ("serving_default", "pixels", "examples"):
        np.testing.assert_allclose(eager[name], eager["pixels"], atol=1e-5)
        np.testing.assert_allclose(session[name], eager["pixels"], atol=1e-5)


def test_each_weight_is_exported_once(serving_model: ServingModel, model_directory: Path) -> None:
    shapes = dict(tf.train.list_variables(str(model_directory / "variables" / "variables")))
    exported = [shape for name, shape in shapes.items() if name.endswith("VARIABLE_VALUE")]
    assert sum(int(np.prod(shape)) for shape in exported) == serving_model.model.count_params()


def test_label_and_confidence_follow_from_the_probabilities(
    serving_model: ServingModel, requests: dict[str, Any]
) -> None:
    prediction = serving_model.classify_pixels(tf.constant(requests["pixels"]))
    assert set(prediction) == set(ANSWER_OUTPUTS)
    probabilities = prediction["probabilities"].numpy()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    assert prediction["classes"].numpy().tolist() == [[name.encode() for name in DIGITS.classes]] * 5
    assert [int(label) for label in prediction["label"].numpy()] == probabilities.argmax(axis=-1).tolist()
    np.testing.assert_allclose(prediction["confidence"], probabilities.max(axis=-1))
    assert prediction["probabilities"].dtype == prediction["confidence"].dtype == tf.float32


def test_probabilities_are_calibrated(
    serving_model: ServingModel, transform: tft.TFTransformOutput, requests: dict[str, Any]
) -> None:
    pixels = tf.constant(requests["pixels"])
    files = tf.constant(requests["serving_default"])
    standardized = transform.transform_features_layer()({"image": files})["image"]
    logits = serving_model.model(standardized, training=False)
    np.testing.assert_allclose(
        serving_model.classify_pixels(pixels)["probabilities"], tf.nn.softmax(logits / 0.5), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("signature", ["pixels", "examples"])
def test_the_status_of_faint_images(
    serving_model: ServingModel, make_requests: Callable[[np.ndarray], dict[str, Any]], signature: str
) -> None:
    faint = np.zeros((3, 28, 28), np.uint8)
    faint[1, 5, 5], faint[2, 5, 5] = 31, 32
    classify = {"pixels": serving_model.classify_pixels, "examples": serving_model.classify_examples}[signature]
    prediction = classify(tf.constant(make_requests(faint)[signature]))
    assert [status == b"blank" for status in prediction["status"].numpy()] == [True, True, False]
    assert prediction["label"].numpy().tolist()[:2] == [b"", b""]
    assert prediction["label"].numpy()[2].decode() in DIGITS.classes
    np.testing.assert_allclose(prediction["probabilities"][0], [0.1] * 10)


def test_the_status_of_an_outlier(
    serving_model: ServingModel, transform: tft.TFTransformOutput, requests: dict[str, Any]
) -> None:
    num_features = 2 * Hyperparameters().width
    space = np.zeros(num_features), np.eye(num_features), np.zeros((1, num_features))
    # Scores the largest logit alone.
    weights = np.array([1.0, 0.0, 0.0, 0.0])
    images = requests["pixels"].copy()
    images[0] = 0
    for bias, status in ((1e6, b"unsure"), (-1e6, b"ok")):
        detector = OutlierDetector(*space, weights, bias)
        model = ServingModel(serving_model.model, transform, DIGITS, 0.001, Hyperparameters(), detector)
        prediction = model.classify_pixels(tf.constant(images))
        assert prediction["status"].numpy().tolist() == [b"blank"] + [status] * 4


def test_pixels_that_were_divided_by_255_are_refused(serving_model: ServingModel, requests: dict[str, Any]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="the largest pixel is 1, but white is 255: multiply"):
        serving_model.classify_pixels(tf.constant(requests["pixels"] / 255))
    faint = serving_model.classify_pixels(tf.constant(requests["pixels"] * 0.0015))
    assert set(faint["status"].numpy()) == {b"blank"}


def test_the_status_of_a_confident_prediction(
    serving_model: ServingModel, transform: tft.TFTransformOutput, requests: dict[str, Any]
) -> None:
    model = serving_model.model
    confident = ServingModel(model, transform, DIGITS, temperature=0.001, hyperparameters=Hyperparameters())
    images = requests["pixels"].copy()
    images[0] = 0
    prediction = confident.classify_pixels(tf.constant(images))
    assert prediction["status"].numpy().tolist() == [b"blank"] + [b"ok"] * 4
    most_probable = tf.argmax(prediction["probabilities"], axis=-1)[1:]
    assert [int(label) for label in prediction["label"][1:].numpy()] == most_probable.numpy().tolist()


def test_signatures_share_what_prepares_files(model_directory: Path) -> None:
    [graph] = SavedModel.FromString((model_directory / "saved_model.pb").read_bytes()).meta_graphs
    functions = [{node.op for node in each.node_def} for each in graph.graph_def.library.function]
    assert sum("ExtractJpegShape" in ops for ops in functions) == 1
    assert sum({"DecodeImage", "DivNoNan"} <= ops for ops in functions) == 1


def test_an_empty_batch_returns_no_predictions(model_directory: Path) -> None:
    signatures = tf.saved_model.load(str(model_directory)).signatures
    empty = {
        "pixels": {"image": tf.zeros([0, 28, 28])},
        "serving_default": {"image_bytes": tf.constant([], tf.string)},
        "examples": {"examples": tf.constant([], tf.string)},
    }
    for name, request in empty.items():
        assert {key: tuple(value.shape) for key, value in signatures[name](**request).items()} == {
            "probabilities": (0, 10),
            "classes": (0, 10),
            "label": (0,),
            "confidence": (0,),
            "status": (0,),
        }


def test_pixels_outside_the_range_are_clipped(serving_model: ServingModel) -> None:
    wild = tf.constant([[[-50.0, 300.0] * 14] * 28])
    tame = tf.constant([[[0.0, 255.0] * 14] * 28])
    np.testing.assert_array_equal(
        serving_model.classify_pixels(wild)["probabilities"], serving_model.classify_pixels(tame)["probabilities"]
    )


def test_normalize_returns_what_the_network_sees(model_directory: Path, requests: dict[str, Any]) -> None:
    signatures = tf.saved_model.load(str(model_directory)).signatures
    canvas = np.full((300, 200, 1), 250, np.uint8)
    canvas[60:240, 120:140] = 30
    encoded = tf.constant([*requests["serving_default"], tf.io.encode_png(canvas).numpy()])
    seen = signatures["normalize"](image_bytes=encoded)["image"]
    np.testing.assert_allclose(seen[:-1], requests["pixels"], atol=0.01)
    np.testing.assert_allclose(np.argwhere(seen[-1] > 128).mean(axis=0), 14, atol=0.6)
    predictions = signatures["serving_default"](image_bytes=encoded)
    for name, expected in signatures["pixels"](image=seen).items():
        np.testing.assert_array_equal(predictions[name], expected)


def test_a_page_without_ink_is_blank(serving_model: ServingModel) -> None:
    page = tf.io.encode_png(np.full((100, 80, 3), 244, np.uint8))
    prediction = serving_model.classify_image_bytes(page[tf.newaxis])
    assert (prediction["status"].numpy().tolist(), prediction["label"].numpy().tolist()) == ([b"blank"], [b""])


def test_other_files_are_an_error_of_the_request(model_directory: Path) -> None:
    signature = tf.saved_model.load(str(model_directory)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image\[0\] is not a PNG, JPEG, GIF or BMP file"):
        signature(image_bytes=tf.constant([b"no image"]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_an_error_of_the_request(serving_model: ServingModel, value: float) -> None:
    image = np.full((1, 28, 28), 100, np.float32)
    image[0, 3, 4] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match="a pixel is not a number"):
        serving_model.classify_pixels(tf.constant(image))


@pytest.mark.parametrize("shape", [(28, 27, 28), (28, 28, 27), (1, 28, 28, 1), (28, 28)])
def test_pixels_of_a_wrong_shape_are_an_error_of_the_request(model_directory: Path, shape: tuple[int, ...]) -> None:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(model_directory))
        signature = graph.signature_def["pixels"]
        options = CallableOptions(feed=[signature.inputs["image"].name], fetch=[signature.outputs["label"].name])
        # Session.run itself checks the shape; the session below it, which TF Serving uses, does not.
        ask = session._make_callable_from_options(options)
        assert ask(np.zeros((2, 28, 28), np.float32))[0].tolist() == [b"", b""]
        with pytest.raises(tf.errors.InvalidArgumentError, match="Shape of tensor"):
            ask(np.zeros(shape, np.float32))


def test_image_bytes_of_a_wrong_rank_are_an_error_of_the_request(model_directory: Path) -> None:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(model_directory))
        for name in ("serving_default", "normalize"):
            signature = graph.signature_def[name]
            (output, *_) = signature.outputs.values()
            options = CallableOptions(feed=[signature.inputs["image_bytes"].name], fetch=[output.name])
            with pytest.raises(tf.errors.InvalidArgumentError, match="Shape of tensor"):
                session._make_callable_from_options(options)(np.array([[b"a"]], object))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_calibration_finds_the_temperature_of_synthetic_logits(temperature: float) -> None:
    random = np.random.default_rng(0)
    true_logits = random.normal(0, 3, (20_000, 10))
    labels = np.array([random.choice(10, p=p) for p in softmax(true_logits, axis=-1)])
    assert fit_temperature(true_logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_diverged_training_is_an_error() -> None:
    logits = np.zeros((5, 10))
    logits[2, 3] = np.nan
    with pytest.raises(ValueError, match="got 5 images, 1 of them with logits that are not finite.*learning_rate"):
        fit_temperature(logits, np.zeros(5, int))
    with pytest.raises(ValueError, match="got 0 images"):
        fit_temperature(np.zeros((0, 10)), np.zeros(0, int))


@pytest.mark.parametrize("name", INPUTS)
def test_requests_with_too_many_images_are_refused(model_directory: Path, name: str) -> None:
    signature = tf.saved_model.load(str(model_directory)).signatures[name]
    shape = (MAX_BATCH[name] + 1, 28, 28) if name == "pixels" else (MAX_BATCH[name] + 1,)
    values = tf.zeros(shape, signature.structured_input_signature[1][INPUTS[name]].dtype)
    num_rows = MAX_BATCH[name]
    message = f"{INPUTS[name]} has {num_rows + 1} images, but at most {num_rows} are allowed: send fewer per request"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signature(**{INPUTS[name]: values})


def test_the_largest_requests_are_answered(model_directory: Path, requests: dict[str, Any]) -> None:
    signatures = tf.saved_model.load(str(model_directory)).signatures
    for name, values in requests.items():
        # NumPy's own bytes type drops trailing zeros.
        array = values if name == "pixels" else np.array(values, object)
        largest = np.resize(array, (MAX_BATCH[name], *array.shape[1:]))
        assert signatures[name](**{INPUTS[name]: tf.constant(largest)})["label"].shape == [MAX_BATCH[name]]


def test_long_examples_are_refused(serving_model: ServingModel, requests: dict[str, Any]) -> None:
    example = requests["examples"][0]
    long = example + serialize(note=bytes(MAX_EXAMPLES_BYTES - len(example) - 50))
    assert serving_model.classify_examples(tf.constant([long]))["label"].shape == [1]
    message = f"examples has {len(long + example)} bytes, but at most 67108864 are allowed: send fewer per request"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        serving_model.classify_examples(tf.constant([long, example]))


def test_an_example_with_many_images_is_refused(serving_model: ServingModel, requests: dict[str, Any]) -> None:
    good, copy = requests["examples"][0], serialize(image=b"")
    for num_copies in (0, 1, 10):
        answer = serving_model.classify_examples(tf.constant([copy * num_copies + good]))
        np.testing.assert_array_equal(
            answer["probabilities"], serving_model.classify_examples(tf.constant([good]))["probabilities"]
        )
    message = "examples contains 'image' more than 20000 times: send one image per tf.Example"
    for examples in ([copy * MAX_IMAGE_NAMES + good], [good, copy * 12_000 + good, copy * 12_000 + good]):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            serving_model.classify_examples(tf.constant(examples))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"no image", r"image\[1\] is not a PNG, JPEG, GIF or BMP file"),
        (png(np.zeros((4100, 4000), np.uint8)), r"image\[1\] is 4000 x 4100 pixels, but 1 x 1 to 16 megapixels"),
    ],
)
def test_images_of_examples_are_limited(
    model_directory: Path, requests: dict[str, Any], image: bytes, message: str
) -> None:
    signature = tf.saved_model.load(str(model_directory)).signatures["examples"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signature(examples=tf.constant([requests["examples"][0], serialize(image=image)]))


def test_the_pixels_of_all_images_of_a_request_are_limited(model_directory: Path) -> None:
    signature = tf.saved_model.load(str(model_directory)).signatures["normalize"]
    page = tf.io.encode_png(np.full((2000, 2000, 1), 255, np.uint8)).numpy()
    assert not signature(image_bytes=tf.constant([page] * 4))["image"].numpy().any()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"the images up to image\[4\] have more than 16 mega"):
        signature(image_bytes=tf.constant([page] * 5))
