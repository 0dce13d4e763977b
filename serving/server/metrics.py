"""Counts what the server does, under the names that TF Serving gives to Prometheus.

Source: `tensorflow_serving/servables/tensorflow/util.cc` and `util/prometheus_exporter.cc`.
"""

from collections.abc import Iterable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric

from serving.server.messages import Api, VersionState, VersionStatus
from serving.server.observer import FinishedRequest

METRICS_PATH = "/monitoring/prometheus/metrics"

_PREFIX = ":tensorflow:serving:"
# TF Serving writes the method as the API does.
_API_NAMES = {Api.REST: "predict", Api.GRPC: "Predict"}
_MICROSECONDS = 1e6
# From 10 microseconds to about 20 minutes.
_LATENCY_BUCKETS = tuple(10 * 1.8**exponent for exponent in range(33))
_BATCH_BUCKETS = tuple(2.0**exponent for exponent in range(15))


class _RequestCounter(Counter):
    """A counter under TF Serving's name, which does not end in `_total` as the library wants it to."""

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():
            # A name that is written as it is, for types that have no ending of their own.
            renamed = Metric(metric.name, metric.documentation, "unknown")
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    renamed.add_sample(metric.name, sample.labels, sample.value)
            yield renamed


class PrometheusObserver:
    """Counts requests and versions for one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        requests = _RequestCounter(
            f"{_PREFIX}request_count",
            "The total number of requests.",
            ("model_name", "status"),
            registry=self._registry,
        )
        latency = Histogram(
            f"{_PREFIX}request_latency",
            "Distribution of wall time (in microseconds) of answered requests.",
            ("model_name", "API", "entrypoint"),
            buckets=_LATENCY_BUCKETS,
            registry=self._registry,
        )
        examples = Histogram(
            f"{_PREFIX}request_example_counts",
            "The number of images per answered request.",
            ("model",),
            buckets=_BATCH_BUCKETS,
            registry=self._registry,
        )
        self._available = Gauge(
            "digits_serve_version_available",
            "Whether a version of a model answers requests.",
            ("model_name", "version"),
            registry=self._registry,
        )
        # The library finds them anew each time, behind a lock.
        self._requests, self._latency, self._examples = (
            cache(requests.labels),
            cache(latency.labels),
            cache(examples.labels),
        )

    def request_finished(self, request: FinishedRequest) -> None:
        """Counts a request that was answered or refused."""
        status = request.error.name if request.error else "OK"
        self._requests(request.model, status).inc()
        if request.error is None:
            self._latency(request.model, _API_NAMES[request.api], request.api).observe(request.seconds * _MICROSECONDS)
            self._examples(request.model).observe(request.batch_size)

    def version_changed(self, model: str, status: VersionStatus) -> None:
        """Takes note of which versions answer; those that are gone are forgotten."""
        version = str(status.version)
        if status.state is VersionState.END:
            self._available.remove(model, version)
        else:
            self._available.labels(model, version).set(status.state is VersionState.AVAILABLE)

    def page(self) -> bytes:
        """Writes everything counted so far in Prometheus' text format."""
        return generate_latest(self._registry)
