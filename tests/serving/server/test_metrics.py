import grpc
import pytest
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.server.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def lines(metrics: Metrics) -> list[str]:
    return metrics.page().decode().splitlines()


def test_requests_are_counted_by_status_under_tf_servings_name(metrics: Metrics) -> None:
    for code in (grpc.StatusCode.OK, grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND):
        metrics.request_finished("digits", "REST", code, seconds=0.002, num_images=3)
    page = lines(metrics)
    assert ':tensorflow:serving:request_count{model_name="digits",status="OK"} 2.0' in page
    assert ':tensorflow:serving:request_count{model_name="digits",status="NOT_FOUND"} 1.0' in page
    # Each server counts for itself.
    assert not [line for line in lines(Metrics()) if 'model_name="digits"' in line]


def test_latency_and_images_of_answered_requests(metrics: Metrics) -> None:
    for code in (grpc.StatusCode.OK, grpc.StatusCode.INTERNAL):
        metrics.request_finished("digits", "GRPC", code, seconds=0.002, num_images=3)
    labels = 'API="Predict",entrypoint="GRPC",model_name="digits"'
    page = lines(metrics)
    assert f":tensorflow:serving:request_latency_sum{{{labels}}} 2000.0" in page
    assert f":tensorflow:serving:request_latency_count{{{labels}}} 1.0" in page
    assert ':tensorflow:serving:request_example_counts_sum{model="digits"} 3.0' in page


def test_versions_are_shown_until_they_are_unloaded(metrics: Metrics) -> None:
    name = 'digits_serve_version_available{model_name="digits",version="1"}'
    metrics.version_changed("digits", ModelVersionStatus(version=1, state=ModelVersionStatus.LOADING))
    assert f"{name} 0.0" in lines(metrics)
    metrics.version_changed("digits", ModelVersionStatus(version=1, state=ModelVersionStatus.AVAILABLE))
    assert f"{name} 1.0" in lines(metrics)
    metrics.version_changed("digits", ModelVersionStatus(version=1, state=ModelVersionStatus.END))
    assert name not in "\n".join(lines(metrics))
