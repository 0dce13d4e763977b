"""Counts requests and versions under TF Serving's Prometheus names.

Source: `tensorflow_serving/servables/tensorflow/util.cc` and `util/prometheus_exporter.cc`.
"""

from collections.abc import Iterable
from functools import cache
from typing import Literal, TypeAlias

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

Api: TypeAlias = Literal["REST", "GRPC"]

METRICS_PATH = "/monitoring/prometheus/metrics"

_PREFIX = ":tensorflow:serving:"
# TF Serving's names of the method, which differ by API.
_METHODS = {"REST": "predict", "GRPC": "Predict"}
_MICROSECONDS = 1e6
# From 10 microseconds to about 20 minutes.
_LATENCY_BUCKETS = tuple(10 * 1.8**exponent for exponent in range(33))
_BATCH_BUCKETS = tuple(2.0**exponent for exponent in range(15))


class _RequestCounter(Counter):
    """A counter without the suffix `_total`, which the library adds and TF Serving does not."""

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():
            # The library writes the names of this type unchanged.
            renamed = Metric(metric.name, metric.documentation, "unknown")
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    renamed.add_sample(metric.name, sample.labels, sample.value)
            yield renamed


class Metrics:
    """The metrics of one server."""

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
            "Whether a version of a model is available.",
            ("model_name", "version"),
            registry=self._registry,
        )
        # The library takes a lock for each lookup of labels.
        self._requests, self._latency = cache(requests.labels), cache(latency.labels)
        self._examples = cache(examples.labels)

    def request_finished(self, model: str, api: Api, code: grpc.StatusCode, seconds: float, num_images: int) -> None:
        """Counts a request.

        Args:
            model: Name of the model; empty for a model that does not exist, so that clients cannot create metrics.
            api: The API that received the request.
            code: OK, or why the request failed.
            seconds: Time from receipt to answer.
            num_images: Number of images in the request.
        """
        self._requests(model, code.name).inc()
        if code is grpc.StatusCode.OK:
            self._latency(model, _METHODS[api], api).observe(seconds * _MICROSECONDS)
            self._examples(model).observe(num_images)

    def version_changed(self, model: str, status: ModelVersionStatus) -> None:
        """Records whether a version is available; unloaded versions disappear."""
        version = str(status.version)
        if status.state == ModelVersionStatus.END:
            self._available.remove(model, version)
        else:
            self._available.labels(model, version).set(status.state == ModelVersionStatus.AVAILABLE)

    def page(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
