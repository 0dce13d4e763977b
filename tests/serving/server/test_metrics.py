from serving.server.errors import ErrorCode
from serving.server.messages import Api, VersionState, VersionStatus
from serving.server.metrics import PrometheusObserver
from serving.server.observer import FinishedRequest


def request(error: ErrorCode | None = None, api: Api = Api.REST) -> FinishedRequest:
    return FinishedRequest("digits", 1, "pixels", api, error, seconds=0.002, batch_size=3)


def lines(observer: PrometheusObserver) -> list[str]:
    return observer.page().decode().splitlines()


def test_requests_are_counted_by_status_under_tf_servings_name() -> None:
    observer = PrometheusObserver()
    for error in (None, None, ErrorCode.NOT_FOUND):
        observer.request_finished(request(error))
    page = lines(observer)
    assert ':tensorflow:serving:request_count{model_name="digits",status="OK"} 2.0' in page
    assert ':tensorflow:serving:request_count{model_name="digits",status="NOT_FOUND"} 1.0' in page


def test_latency_of_answers_is_in_microseconds() -> None:
    observer = PrometheusObserver()
    observer.request_finished(request(api=Api.GRPC))
    observer.request_finished(request(ErrorCode.INTERNAL, Api.GRPC))
    labels = 'API="Predict",entrypoint="GRPC",model_name="digits"'
    assert f":tensorflow:serving:request_latency_sum{{{labels}}} 2000.0" in lines(observer)
    assert f":tensorflow:serving:request_latency_count{{{labels}}} 1.0" in lines(observer)


def test_images_are_counted() -> None:
    observer = PrometheusObserver()
    observer.request_finished(request())
    assert ':tensorflow:serving:request_example_counts_sum{model="digits"} 3.0' in lines(observer)


def test_versions_are_shown_until_they_are_gone() -> None:
    observer = PrometheusObserver()
    name = 'digits_serve_version_available{model_name="digits",version="1"}'
    observer.version_changed("digits", VersionStatus(1, VersionState.LOADING))
    assert f"{name} 0.0" in lines(observer)
    observer.version_changed("digits", VersionStatus(1, VersionState.AVAILABLE))
    assert f"{name} 1.0" in lines(observer)
    observer.version_changed("digits", VersionStatus(1, VersionState.END))
    assert name not in "\n".join(lines(observer))


def test_two_servers_in_a_process_count_for_themselves() -> None:
    first, second = PrometheusObserver(), PrometheusObserver()
    first.request_finished(request())
    assert "digits" not in second.page().decode().replace("digits_serve", "")
