"""TF Serving's gRPC API, asked with the stubs of its own `tensorflow-serving-api`."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

Running = Any
Stub: TypeAlias = prediction_service_pb2_grpc.PredictionServiceStub
IMAGE = np.zeros((1, 28, 28), np.float32)


@pytest.fixture(scope="session")
def channel(running: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running.addresses.grpc_target, options=[("grpc.max_send_message_length", -1)]) as opened:
        yield opened


@pytest.fixture
def stub(channel: grpc.Channel) -> Iterator[Stub]:
    """After each test the server still answers a good request."""
    stub = Stub(channel)
    yield stub
    assert stub.Predict(request(IMAGE), timeout=60).outputs["digit"].int64_val == [2]


def request(values: Any, signature: str = "pixels", name: str = "image", **spec: Any) -> PredictRequest:
    asked = PredictRequest()
    asked.model_spec.name = spec.get("model", "digits")
    asked.model_spec.signature_name = signature
    if "version" in spec:
        asked.model_spec.version.value = spec["version"]
    if "label" in spec:
        asked.model_spec.version_label = spec["label"]
    is_proto = not isinstance(values, np.ndarray | list)
    asked.inputs[name].CopyFrom(values if is_proto else tf.make_tensor_proto(values))
    return asked


def test_predict_answers_all_outputs_in_the_fields_of_their_types(stub: Stub, pixels: np.ndarray) -> None:
    answer = stub.Predict(request(pixels), timeout=60)
    assert answer.outputs["confidence"].float_val == [2, 2]
    assert answer.outputs["status"].string_val == [b"ok", b"ok"]
    assert tf.make_ndarray(answer.outputs["probabilities"]).shape == (2, 10)
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("digits", 2, "pixels")


def test_no_signature_is_the_default_one(stub: Stub, png: bytes) -> None:
    answer = stub.Predict(request([png, png], signature="", name="image_bytes"), timeout=60)
    assert answer.outputs["digit"].int64_val == [2, 2]
    assert answer.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize(("spec", "digit"), [({"version": 1}, 1), ({"version": 2}, 2), ({"label": "stable"}, 1)])
def test_a_version_is_chosen_by_number_or_label(stub: Stub, spec: dict[str, Any], digit: int) -> None:
    answer = stub.Predict(request(IMAGE, **spec), timeout=60)
    assert answer.outputs["digit"].int64_val == [digit]
    assert answer.model_spec.version.value == digit


def test_an_output_filter_is_honoured(stub: Stub) -> None:
    asked = request(IMAGE)
    asked.output_filter.append("digit")
    assert list(stub.Predict(asked, timeout=60).outputs) == ["digit"]


def test_metadata_has_the_signatures(stub: Stub) -> None:
    asked = GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "digits"
    answer = stub.GetModelMetadata(asked, timeout=60)
    signatures = SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"serving_default", "pixels", "examples", "normalize"}
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("digits", 2)


def test_status_of_all_versions_or_one(channel: grpc.Channel) -> None:
    asked = GetModelStatusRequest()
    asked.model_spec.name = "digits"
    statuses = ModelServiceStub(channel).GetModelStatus(asked, timeout=60).model_version_status
    assert [(each.version, each.state) for each in statuses] == [
        (2, ModelVersionStatus.AVAILABLE),
        (1, ModelVersionStatus.AVAILABLE),
    ]
    asked.model_spec.version.value = 1
    (status,) = ModelServiceStub(channel).GetModelStatus(asked, timeout=60).model_version_status
    assert (status.version, status.status.error_code, status.status.error_message) == (1, 0, "")
    asked.model_spec.name = "letters"
    with pytest.raises(grpc.RpcError) as raised:
        ModelServiceStub(channel).GetModelStatus(asked, timeout=60)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def proto(size: tuple[int, ...], **fields: Any) -> Any:
    made = tf.make_tensor_proto(np.float32(0))
    made.float_val.clear()
    made.tensor_shape.dim.extend(type(made.tensor_shape).Dim(size=each) for each in size)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        (request(IMAGE[:, :20]), "INVALID_ARGUMENT", "Shape of tensor"),
        (request(IMAGE.astype(np.float64)), "INVALID_ARGUMENT", "Expects arg[0] to be float but double is provided"),
        (request([b"text"]), "INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided"),
        (request(IMAGE, name="img"), "INVALID_ARGUMENT", "img"),
        (request(IMAGE, version=9), "NOT_FOUND", "Servable not found for request: Specific(digits, 9)"),
        (request(IMAGE, label="nope"), "INVALID_ARGUMENT", "Unrecognized servable version label: nope"),
        (request(IMAGE, model="letters"), "NOT_FOUND", "Servable not found for request: Latest(letters)"),
        (request(IMAGE * np.nan), "INVALID_ARGUMENT", "no number"),
        (request([b"a text file"], "", "image_bytes"), "INVALID_ARGUMENT", "Unknown image file format"),
        (request(np.zeros((17, 28, 28), np.float32)), "INVALID_ARGUMENT", "Task size 17 is larger than maximum"),
        (request(proto((1, 28, 28), tensor_content=b"abc")), "INVALID_ARGUMENT", "3 bytes of tensor_content are no"),
        (request(proto((2**40, 28, 28))), "INVALID_ARGUMENT", "takes more than 1,048,576 bytes"),
        (request(IMAGE, model=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    ],
)
def test_bad_requests(stub: Stub, asked: PredictRequest, code: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(asked, timeout=60)
    assert raised.value.code().name == code
    assert message in raised.value.details()


def test_a_truncated_png_is_refused(stub: Stub, png: bytes) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(request([png[: len(png) // 2]], "", "image_bytes"), timeout=60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_limit_is_for_all_inputs_together(stub: Stub) -> None:
    asked = request(IMAGE)
    for number in range(3):
        # A few bytes that declare half of what a message may take.
        asked.inputs[f"more {number}"].CopyFrom(proto((2**17,)))
        asked.inputs[f"more {number}"].float_val.append(1)
    with pytest.raises(grpc.RpcError, match="takes more than") as error:
        stub.Predict(asked)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_of_100_mb_is_refused(stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(request([b"1" * 100_000_000], "", "image_bytes"), timeout=60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details().startswith("The message is larger than 1,048,576 bytes")


def test_a_long_message_is_cut_as_tf_serving_cuts_it(stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(request(IMAGE, model="x" * 5000), timeout=60)
    assert raised.value.details().endswith("x...TRUNCATED")
    assert len(raised.value.details()) == 1024 + len("...TRUNCATED")


@pytest.mark.parametrize(
    ("fields", "message"),
    [([], "must specify at least one metadata_field"), (["weights"], "Metadata field weights is not supported")],
)
def test_metadata_that_there_is_not(stub: Stub, fields: list[str], message: str) -> None:
    asked = GetModelMetadataRequest(metadata_field=fields)
    asked.model_spec.name = "digits"
    with pytest.raises(grpc.RpcError) as raised:
        stub.GetModelMetadata(asked, timeout=60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in raised.value.details()


def test_methods_that_are_not_served_are_unimplemented(channel: grpc.Channel) -> None:
    calls: list[tuple[Callable, Any]] = [
        (Stub(channel).Classify, ClassificationRequest()),
        (Stub(channel).Regress, RegressionRequest()),
        (Stub(channel).MultiInference, MultiInferenceRequest()),
        (ModelServiceStub(channel).HandleReloadConfigRequest, ReloadConfigRequest()),
    ]
    for method, asked in calls:
        with pytest.raises(grpc.RpcError) as raised:
            method(asked, timeout=60)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "it answers Predict, GetModelMetadata and GetModelStatus" in raised.value.details()
