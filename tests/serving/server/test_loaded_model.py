import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.server.errors import ErrorCode, ServingError
from serving.server.loaded_model import LoadedModel, ModelLoadError

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
    """A version to be damaged."""
    return tiny_model(tmp_path, 1)


def test_signatures_are_those_that_clients_may_ask(own_version: Path) -> None:
    # `tf.saved_model.save` writes one more, which TensorFlow asks when it loads.
    file = own_version / "saved_model.pb"
    saved_model = SavedModel.FromString(file.read_bytes())
    (graph,) = saved_model.meta_graphs
    graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "no_op_of_test"
    graph.graph_def.node.add(name="no_op_of_test", op="NoOp")
    file.write_bytes(saved_model.SerializeToString())
    assert set(LoadedModel(own_version).signatures) == {"serving_default", "pixels", "examples", "normalize"}


@pytest.mark.parametrize("num_threads", [1, 2])
def test_it_answers_with_all_outputs_or_those_asked_for(directory: Path, pixels: np.ndarray, num_threads: int) -> None:
    model = LoadedModel(directory, num_threads)
    answer = model.run("pixels", {"image": pixels})
    assert {name: values.shape for name, values in answer.items()} == {
        "probabilities": (2, 10),
        "digit": (2,),
        "confidence": (2,),
        "status": (2,),
    }
    assert answer["digit"].tolist() == [7, 7]
    assert answer["status"].tolist() == [b"ok", b"ok"]
    assert list(model.run("pixels", {"image": pixels}, ["status", "digit"])) == ["status", "digit"]
    model.close()


def test_no_name_is_serving_default(model: LoadedModel, png: bytes) -> None:
    images = np.array([png, png], object)
    assert model.run("", {"image_bytes": images})["confidence"].tolist() == [7, 7]


def test_an_empty_batch_has_empty_answers(model: LoadedModel) -> None:
    assert model.run("pixels", {"image": np.zeros((0, 28, 28), np.float32)})["probabilities"].shape == (0, 10)


@pytest.mark.parametrize(
    ("signature", "inputs", "code", "message"),
    [
        ("none", {}, ErrorCode.INVALID_ARGUMENT, 'Serving signature key "none" not found.'),
        ("pixels", {}, ErrorCode.INVALID_ARGUMENT, "input size does not match signature: 0!=1"),
        (
            "pixels",
            {"image": np.zeros((1, 27, 28), np.float32)},
            ErrorCode.INVALID_ARGUMENT,
            r"\[1,27,28\] is not compatible with expected shape \[\?,28,28\]",
        ),
        (
            "pixels",
            {"image": np.full((1, 28, 28), np.nan, np.float32)},
            ErrorCode.INVALID_ARGUMENT,
            "a pixel is no number : Tensor had NaN values",
        ),
        (
            "serving_default",
            {"image_bytes": np.array([b"no image"], object)},
            ErrorCode.INVALID_ARGUMENT,
            "Unknown image file format",
        ),
    ],
)
def test_bad_requests_are_errors_of_the_client_and_do_no_harm(
    model: LoadedModel,
    pixels: np.ndarray,
    signature: str,
    inputs: dict[str, np.ndarray],
    code: ErrorCode,
    message: str,
) -> None:
    with pytest.raises(ServingError, match=message) as error:
        model.run(signature, inputs)
    assert error.value.code == code
    assert model.run("pixels", {"image": pixels})["digit"].tolist() == [7, 7]


def test_many_threads_may_ask_a_new_model(directory: Path, pixels: np.ndarray) -> None:
    model = LoadedModel(directory)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda size: model.run("pixels", {"image": pixels[:size]}), [0, 1, 2] * 20))
    assert [len(answer["digit"]) for answer in answers] == [0, 1, 2] * 20
    model.close()


def test_close_frees_the_session_at_once_and_refuses_later_requests(directory: Path, pixels: np.ndarray) -> None:
    model = LoadedModel(directory)
    model.warm_up()
    session = weakref.ref(model._session)
    model.close()
    with pytest.raises(ServingError, match="closed") as error:
        model.run("pixels", {"image": pixels})
    assert error.value.code == ErrorCode.UNAVAILABLE
    del model, error
    assert session() is None


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=rf"{tmp_path}: .*SavedModel file does not exist"):
        LoadedModel(tmp_path)


def test_a_model_without_its_variables_is_refused(own_version: Path) -> None:
    (own_version / "variables" / "variables.index").unlink()
    with pytest.raises(ModelLoadError, match=f"{own_version}: "):
        LoadedModel(own_version)


def test_warm_up_sends_every_request(directory: Path, own_version: Path) -> None:
    model = LoadedModel(directory)
    assert model.warm_up() == 1
    (own_version / WARM_UP_FILE).unlink()
    assert LoadedModel(own_version).warm_up() == 0


def test_a_damaged_warm_up_is_refused(own_version: Path) -> None:
    content = (own_version / WARM_UP_FILE).read_bytes()
    (own_version / WARM_UP_FILE).write_bytes(content[:-20])
    with pytest.raises(ModelLoadError, match="warm-up request 0: .*tf_serving_warmup_requests is damaged"):
        LoadedModel(own_version).warm_up()


def test_a_warm_up_that_fails_is_refused(own_version: Path) -> None:
    log = PredictionLog()
    log.predict_log.request.model_spec.signature_name = "none"
    _write_warm_up(own_version, log)
    with pytest.raises(ModelLoadError, match='warm-up request 0: Serving signature key "none" not found'):
        LoadedModel(own_version).warm_up()


def test_warm_up_takes_requests_of_predict_alone(own_version: Path) -> None:
    log = PredictionLog()
    log.classify_log.request.model_spec.name = "digits"
    _write_warm_up(own_version, log)
    with pytest.raises(ModelLoadError, match="holds a classify_log; expected a predict_log"):
        LoadedModel(own_version).warm_up()


def _write_warm_up(version: Path, log: PredictionLog) -> None:
    with tf.io.TFRecordWriter(str(version / WARM_UP_FILE)) as writer:
        writer.write(log.SerializeToString())
