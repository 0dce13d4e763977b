"""TF Serving's gRPC API, called with the stubs of `tensorflow-serving-api`."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving.server import grpc_services
from serving.server.grpc_services import fill_proto, tensor_from_proto
from serving.server.interface import ServingError

Running = Any
Stub: TypeAlias = prediction_service_pb2_grpc.PredictionServiceStub
IMAGE = np.zeros((1, 28, 28), np.float32)
FLOAT, STRING = tf.float32.as_datatype_enum, tf.string.as_datatype_enum
MEBIBYTE = 2**20


def proto_of(dtype: int, sizes: list[int], **fields: Any) -> TensorProto:
    proto = TensorProto(dtype=dtype, **fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.fixture(scope="session")
def channel(running: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running.addresses.grpc_target, options=[("grpc.max_send_message_length", -1)]) as opened:
        yield opened


@pytest.fixture
def stub(channel: grpc.Channel) -> Iterator[Stub]:
    """Also checks after each test that the server still answers a good request."""
    stub = Stub(channel)
    yield stub
    assert stub.Predict(request(IMAGE), timeout=60).outputs["label"].string_val == [b"2"]


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


def test_predict_returns_all_outputs_in_the_fields_of_their_types(stub: Stub, pixels: np.ndarray) -> None:
    answer = stub.Predict(request(pixels), timeout=60)
    assert answer.outputs["confidence"].float_val == [2, 2]
    assert answer.outputs["status"].string_val == [b"ok", b"ok"]
    assert answer.outputs["label"].string_val == [b"2", b"2"]
    assert tf.make_ndarray(answer.outputs["classes"]).tolist() == [[b"%d" % number for number in range(10)]] * 2
    assert tf.make_ndarray(answer.outputs["probabilities"]).shape == (2, 10)
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("digits", 2, "pixels")


def test_a_color_model_with_class_names(
    tiny_model: Callable[..., Path], run_in_thread: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "digits").mkdir()
    classes = ("Ärger", "日本", "a b")
    tiny_model(tmp_path / "digits", 1, classes, (8, 12, 3))
    with run_in_thread(tmp_path) as server, grpc.insecure_channel(server.addresses.grpc_target) as channel:
        stub = Stub(channel)
        outputs = stub.Predict(request(np.zeros((2, 8, 12, 3), np.float32)), timeout=60).outputs
        with pytest.raises(grpc.RpcError, match="not compatible with expected shape"):
            stub.Predict(request(IMAGE), timeout=60)
    assert outputs["label"].string_val == ["日本".encode()] * 2
    assert tf.make_ndarray(outputs["classes"]).tolist() == [[name.encode() for name in classes]] * 2


def test_the_default_signature(stub: Stub, png: bytes) -> None:
    answer = stub.Predict(request([png, png], signature="", name="image_bytes"), timeout=60)
    assert answer.outputs["label"].string_val == [b"2", b"2"]
    assert answer.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize(("spec", "version"), [({"version": 1}, 1), ({"version": 2}, 2), ({"label": "stable"}, 1)])
def test_a_version_is_chosen_by_number_or_label(stub: Stub, spec: dict[str, Any], version: int) -> None:
    answer = stub.Predict(request(IMAGE, **spec), timeout=60)
    assert answer.outputs["label"].string_val == [b"%d" % version]
    assert answer.model_spec.version.value == version


def test_an_output_filter(stub: Stub) -> None:
    asked = request(IMAGE)
    asked.output_filter.append("label")
    assert list(stub.Predict(asked, timeout=60).outputs) == ["label"]


def test_metadata(stub: Stub) -> None:
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


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        (request(IMAGE[:, :20]), "INVALID_ARGUMENT", "Shape of tensor"),
        (request([b"text"]), "INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided"),
        (request(IMAGE, version=9), "NOT_FOUND", "Servable not found for request: Specific(digits, 9)"),
        (request(IMAGE, model="letters"), "NOT_FOUND", "Servable not found for request: Latest(letters)"),
        (request([b"a text file"], "", "image_bytes"), "INVALID_ARGUMENT", "Unknown image file format"),
        (
            request(proto_of(FLOAT, [2**40, 28, 28], float_val=[0])),
            "INVALID_ARGUMENT",
            "takes more than 1,048,576 bytes",
        ),
        (request(IMAGE, model=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    ],
)
def test_bad_requests(stub: Stub, asked: PredictRequest, code: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(asked, timeout=60)
    assert raised.value.code().name == code
    assert message in raised.value.details()


def test_one_version_checks_and_answers_a_request(
    tiny_model: Callable[..., Any],
    run_in_thread: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "digits").mkdir()
    tiny_model(tmp_path / "digits", 3)

    def read_slowly(*arguments: Any) -> Any:
        if not (tmp_path / "digits" / "4").exists():
            tiny_model(tmp_path / "digits", 4)
            while "digits: version 4 is available" not in server.said:
                time.sleep(0.01)
        return tensor_from_proto(*arguments)

    monkeypatch.setattr(grpc_services, "tensor_from_proto", read_slowly)
    monkeypatch.setattr(grpc_services, "LARGE_REQUEST_BYTES", 0)
    with run_in_thread(tmp_path) as server, grpc.insecure_channel(server.addresses.grpc_target) as channel:
        answers = [Stub(channel).Predict(request(IMAGE), timeout=60) for _ in range(2)]
    assert [answer.model_spec.version.value for answer in answers] == [3, 4]
    assert [answer.outputs["label"].string_val for answer in answers] == [[b"3"], [b"4"]]


def test_the_size_limit_is_for_all_inputs_together(stub: Stub) -> None:
    asked = request(IMAGE)
    for number in range(3):
        # A few bytes that declare half the limit.
        asked.inputs[f"more {number}"].CopyFrom(proto_of(FLOAT, [2**17], float_val=[1]))
    with pytest.raises(grpc.RpcError, match="takes more than") as error:
        stub.Predict(asked)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_of_100_mb_is_refused(stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(request([b"1" * 100_000_000], "", "image_bytes"), timeout=60)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.details() == "SERVER: Received message larger than max (100000046 vs. 1048576)"


def test_a_long_error_message_is_cut(stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(request(IMAGE, model="x" * 5000), timeout=60)
    assert raised.value.details().endswith("x...TRUNCATED")
    assert len(raised.value.details()) == 1024 + len("...TRUNCATED")


@pytest.mark.parametrize(
    ("fields", "message"),
    [([], "must specify at least one metadata_field"), (["weights"], "Metadata field weights is not supported")],
)
def test_unsupported_metadata(stub: Stub, fields: list[str], message: str) -> None:
    asked = GetModelMetadataRequest(metadata_field=fields)
    asked.model_spec.name = "digits"
    with pytest.raises(grpc.RpcError) as raised:
        stub.GetModelMetadata(asked, timeout=60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in raised.value.details()


@pytest.mark.parametrize("service", ["", "digits", "tensorflow.serving.PredictionService"])
def test_a_server_with_a_loaded_version_is_healthy(channel: grpc.Channel, service: str) -> None:
    answer = HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=60)
    assert answer.status == HealthCheckResponse.SERVING


def test_an_unknown_model_has_no_health(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
        HealthStub(channel).Check(HealthCheckRequest(service="letters"), timeout=60)


def test_clients_can_look_up_services_and_messages(channel: grpc.Channel) -> None:
    reflection = ProtoReflectionDescriptorDatabase(channel)
    predict = "tensorflow.serving.PredictionService"
    assert {predict, "tensorflow.serving.ModelService", "grpc.health.v1.Health"} <= set(reflection.get_services())
    service = DescriptorPool(reflection).FindServiceByName(predict)
    assert service.methods_by_name["Predict"].input_type.fields_by_name["inputs"].message_type is not None


def test_unimplemented_methods(channel: grpc.Channel) -> None:
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
        assert "it supports Predict, GetModelMetadata and GetModelStatus" in raised.value.details()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array([[True], [False]]),
        np.array([1, -2]),
        np.array([b"a\x00", b""], object),
        np.array([], np.float32),
        np.array([1, 2], np.uint16),
    ],
)
def test_tensors_are_written_and_read(array: np.ndarray) -> None:
    proto = TensorProto()
    fill_proto(proto, array)
    found = tensor_from_proto("image", proto, MEBIBYTE)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_answers_are_in_the_typed_field() -> None:
    proto = TensorProto()
    fill_proto(proto, np.array([0.5, 1], np.float32))
    assert (list(proto.float_val), proto.tensor_content) == ([0.5, 1.0], b"")


def test_both_forms_of_content_are_read() -> None:
    content = tf.make_tensor_proto(np.array([1, 2], np.float32))
    assert content.tensor_content
    values = TensorProto(dtype=content.dtype, tensor_shape=content.tensor_shape, float_val=[1, 2])
    for proto in (content, values):
        np.testing.assert_array_equal(tensor_from_proto("image", proto, MEBIBYTE), [1, 2])


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (proto_of(99, [1]), "there is no type 99"),
        (proto_of(0, [1]), "there is no type 0"),
        (proto_of(tf.resource.as_datatype_enum, [1]), "there is no type 20"),
        (proto_of(tf.uint8.as_datatype_enum, [1], int_val=[300]), "tensor parsing error: image"),
        (TensorProto(dtype=FLOAT, tensor_shape={"unknown_rank": True}), "each size has to be known"),
        (proto_of(FLOAT, [-1]), r"its shape is \[-1\], but each size has to be known"),
        (proto_of(FLOAT, [1] * 33, float_val=[1]), "it has 33 dimensions; expected at most 32"),
        (proto_of(FLOAT, [2**40], float_val=[1]), "takes more than 1,048,576 bytes"),
        (proto_of(STRING, [2**40], string_val=[b"a"]), "takes more than 1,048,576 bytes"),
        (proto_of(FLOAT, [2], tensor_content=b"123"), "3 bytes of tensor_content do not match float32 of shape"),
        (proto_of(STRING, [2], tensor_content=b"123"), "3 bytes of tensor_content do not match string of shape"),
        (proto_of(FLOAT, [2], float_val=[1, 2, 3]), "tensor parsing error: image"),
        (proto_of(STRING, [1], string_val=[b"a", b"b"]), "tensor parsing error: image"),
    ],
)
def test_malformed_tensors_are_refused(proto: TensorProto, message: str) -> None:
    with pytest.raises(ServingError, match=message) as raised:
        tensor_from_proto("image", proto, MEBIBYTE)
    assert raised.value.code is grpc.StatusCode.INVALID_ARGUMENT
