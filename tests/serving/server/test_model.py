import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.server.interface import ServingError
from serving.server.model import LoadedModel, ModelLoadError

v1 = tf.compat.v1

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"


@pytest.fixture(scope="module")
def directory(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("digits"), 7)


@pytest.fixture(scope="module")
def model(directory: Path) -> Iterator[LoadedModel]:
    model = LoadedModel(directory)
    yield model
    model.close()


@pytest.fixture
def own_version(tiny_model: Callable[..., Path], tmp_path: Path) -> Path:
    """A version that a test may damage."""
    return tiny_model(tmp_path, 1)


def test_the_initialization_signature_is_hidden(own_version: Path) -> None:
    # `tf.saved_model.save` writes it; TensorFlow runs it on loading.
    file = own_version / "saved_model.pb"
    saved_model = SavedModel.FromString(file.read_bytes())
    (graph,) = saved_model.meta_graphs
    graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "no_op_of_test"
    graph.graph_def.node.add(name="no_op_of_test", op="NoOp")
    file.write_bytes(saved_model.SerializeToString())
    assert set(LoadedModel(own_version).signatures) == {"serving_default", "pixels", "examples", "normalize"}


def test_it_returns_all_or_the_requested_outputs(model: LoadedModel, pixels: np.ndarray) -> None:
    answer = model.run("pixels", {"image": pixels})
    assert {name: values.shape for name, values in answer.items()} == {
        "label": (2,),
        "classes": (2, 10),
        "probabilities": (2, 10),
        "confidence": (2,),
        "status": (2,),
    }
    assert answer["label"].tolist() == [b"7", b"7"]
    assert answer["status"].tolist() == [b"ok", b"ok"]
    assert list(model.run("pixels", {"image": pixels}, ["status", "label"])) == ["status", "label"]


def test_the_default_signature(model: LoadedModel, png: bytes) -> None:
    images = np.array([png, png], object)
    assert model.run("", {"image_bytes": images})["confidence"].tolist() == [7, 7]


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("none", {}, 'Serving signature key "none" not found.'),
        ("pixels", {}, "input size does not match signature: 0!=1"),
        (
            "pixels",
            {"image": np.zeros((1, 27, 28), np.float32)},
            r"\[1,27,28\] is not compatible with expected shape \[\?,28,28\]",
        ),
        (
            "pixels",
            {"image": np.full((1, 28, 28), np.nan, np.float32)},
            "a pixel is not a number : Tensor had NaN values",
        ),
        ("serving_default", {"image_bytes": np.array([b"no image"], object)}, "Unknown image file format"),
        # TensorFlow's Python API fails to decode its own message, which quotes the input.
        ("examples", {"examples": np.array([b"\xff\xfe"], object)}, r"Could not parse example input.*\\xff\\xfe"),
    ],
)
def test_bad_requests_are_refused_and_do_no_harm(
    model: LoadedModel, pixels: np.ndarray, signature: str, inputs: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ServingError, match=message) as error:
        model.run(signature, inputs)
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert model.run("pixels", {"image": pixels})["label"].tolist() == [b"7", b"7"]


TEXTS = np.array([b"a\0"], object)
NUMBERS = np.zeros(1, np.float32)


@pytest.fixture(scope="module")
def two_inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    """A model that returns its inputs `image` and `text`."""
    directory = tmp_path_factory.mktemp("two_inputs") / "1"
    with v1.Graph().as_default(), v1.Session() as session:
        tensors = {"text": v1.placeholder(tf.string, [None]), "image": v1.placeholder(tf.float32, [None])}
        outputs = {name: tf.identity(tensor) for name, tensor in tensors.items()}
        v1.saved_model.simple_save(session, str(directory), tensors, outputs)
    model = LoadedModel(directory)
    yield model
    model.close()


def test_inputs_may_have_any_order(two_inputs: LoadedModel) -> None:
    assert two_inputs.run("", {"text": TEXTS, "image": NUMBERS}) == {"text": TEXTS, "image": NUMBERS}


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (
            {"image": NUMBERS},
            [],
            r"input size does not match signature: 1!=2 len\({image}\) != len\({image,text}\). "
            r"Sent extra: {}. Missing but required: {text}.",
        ),
        (
            {"image": NUMBERS, "text": TEXTS, "more": TEXTS},
            [],
            r"3!=2 len\({image,more,text}\) .* Sent extra: {more}. Missing but required: {}.",
        ),
        (
            {"image": NUMBERS, "other": TEXTS},
            [],
            "Inputs contains invalid name. Used request inputs: image, request input: image,other",
        ),
        (
            {"image": NUMBERS.astype(np.float64), "text": TEXTS},
            [],
            r"Expects arg\[0\] to be float but double is provided \(input: image\)",
        ),
        (
            {"image": NUMBERS, "text": NUMBERS},
            [],
            r"Expects arg\[1\] to be string but float is provided \(input: text\)",
        ),
        ({"image": NUMBERS, "text": np.array([b"a", 7], object)}, [], "tensor parsing error: text"),
        (
            {"image": NUMBERS, "text": TEXTS},
            ["image", "label"],
            r"not found in signature: label Outputs expected to be in the set {image,text}.",
        ),
        ({"image": NUMBERS, "text": TEXTS}, ["image", "image"], "duplicate output tensor alias: image"),
    ],
)
def test_inputs_and_outputs_must_match_the_signature(
    two_inputs: LoadedModel, inputs: dict[str, np.ndarray], outputs: list[str], message: str
) -> None:
    with pytest.raises(ServingError, match=message) as error:
        two_inputs.run("", inputs, outputs)
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_many_threads_may_run_a_new_model(directory: Path, pixels: np.ndarray) -> None:
    model = LoadedModel(directory)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda size: model.run("pixels", {"image": pixels[:size]}), [0, 1, 2] * 20))
    assert [len(answer["label"]) for answer in answers] == [0, 1, 2] * 20
    model.close()


def test_close_frees_the_session_and_refuses_later_requests(directory: Path, pixels: np.ndarray) -> None:
    model = LoadedModel(directory)
    model.warm_up()
    session = weakref.ref(model._session)
    model.close()
    with pytest.raises(ServingError, match="closed") as error:
        model.run("pixels", {"image": pixels})
    assert error.value.code is grpc.StatusCode.UNAVAILABLE
    del model, error
    assert session() is None


def test_folders_that_hold_no_complete_model(own_version: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=rf"{tmp_path}: .*SavedModel file does not exist"):
        LoadedModel(tmp_path)
    (own_version / "variables" / "variables.index").unlink()
    with pytest.raises(ModelLoadError, match=f"{own_version}: "):
        LoadedModel(own_version)


def test_warm_up_sends_every_request(own_version: Path) -> None:
    assert LoadedModel(own_version).warm_up() == 1
    (own_version / WARM_UP_FILE).unlink()
    assert LoadedModel(own_version).warm_up() == 0


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (None, "tf_serving_warmup_requests is damaged"),
        ('predict_log { request { model_spec { signature_name: "none" } } }', 'signature key "none" not found'),
        ('classify_log { request { model_spec { name: "digits" } } }', "holds a classify_log; expected a predict_log"),
    ],
)
def test_wrong_warm_up_requests_are_refused(own_version: Path, log: str | None, message: str) -> None:
    file = own_version / WARM_UP_FILE
    if log is None:
        file.write_bytes(file.read_bytes()[:-20])
    else:
        with tf.io.TFRecordWriter(str(file)) as writer:
            writer.write(text_format.Parse(log, PredictionLog()).SerializeToString())
    with pytest.raises(ModelLoadError, match=f"warm-up request 0: .*{message}"):
        LoadedModel(own_version).warm_up()
