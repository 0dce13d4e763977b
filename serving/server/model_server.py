"""Handles the requests of both APIs with the versions in the serving folder."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import grpc
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec

from registry.signatures import SERVING_DEFAULT
from serving.server.admission import ByteBudget, SetSize
from serving.server.inference import Inference, InferenceQueue
from serving.server.interface import ServerOptions, ServingError, Tensors, invalid
from serving.server.metrics import Api, Metrics
from serving.server.versions import ModelWatcher, OnVersionChange, ServedVersion, not_served


class ModelServer:
    """The server behind both APIs. All methods run in one event loop.

    A request names its model with TF Serving's `ModelSpec`: name, version or label (the newest version without both),
    and signature (`serving_default` without one).

    Args:
        options: What to serve, and the limits.
        on_version_change: Called for each new status of a version.

    Attributes:
        metrics: Counts requests and versions.
    """

    def __init__(self, options: ServerOptions, on_version_change: OnVersionChange) -> None:
        def version_changed(model: str, status: ModelVersionStatus) -> None:
            self.metrics.version_changed(model, status)
            on_version_change(model, status)

        self.metrics = Metrics()
        self._options = options
        self._watcher = ModelWatcher(options, version_changed)
        self._queue = InferenceQueue(options.max_concurrency, options.max_queue, options.request_timeout_seconds)
        self._budget = ByteBudget(options.max_bytes_in_flight)
        self._is_stopping = False

    async def start(self) -> None:
        """Loads the current versions and starts to follow the serving folder, which may have no version yet.

        Raises:
            registry.labels.LabelError: `models.config` cannot be read.
            OSError: The serving folder cannot be read.
        """
        await self._watcher.start()

    async def stop(self) -> None:
        """Refuses new requests, waits for running ones up to the grace period, and frees all models."""
        self._is_stopping = True
        await self._queue.wait_until_idle(self._options.grace_seconds)
        # Closes the sessions, which ends the requests that still run.
        await self._watcher.stop()
        await self._queue.close()

    def admitted(self, *, runs_model: bool = True) -> AbstractContextManager[SetSize]:
        """Admits a request before its body is read; the context yields a function to count its bytes as they arrive.

        Args:
            runs_model: Whether the request needs a place in the queue.

        Raises:
            ServingError: RESOURCE_EXHAUSTED if the queue is full.
        """
        if runs_model:
            self._queue.check_room()
        return self._budget.request()

    @contextmanager
    def held(self, spec: ModelSpec) -> Iterator[ServedVersion]:
        """Yields the version that a request names; it stays loaded until the end of the `with` statement.

        Raises:
            ServingError: The version is not served.
        """
        version = self._find(spec)
        version.acquire()
        try:
            yield version
        finally:
            version.release()

    async def predict(
        self,
        spec: ModelSpec,
        inputs: Tensors,
        outputs: Sequence[str] = (),
        api: Api = "REST",
        version: ServedVersion | None = None,
    ) -> tuple[ModelSpec, Tensors]:
        """Runs a signature.

        Args:
            spec: The model, version and signature.
            inputs: Values by name.
            outputs: Names of the outputs to return; empty for all.
            api: The API that received the request.
            version: The version, if it is already `held`.

        Returns:
            The version and signature that answered, and its outputs by name.

        Raises:
            ServingError: The request is refused.
        """
        start = time.perf_counter()
        with self.counted_errors(spec, api):
            if self._is_stopping:
                raise ServingError(grpc.StatusCode.UNAVAILABLE, "The server is stopping.")
            version = version or self._find(spec)
            inference = Inference(version.model, spec.signature_name, inputs, tuple(outputs))
            self._check_size(inference)
            version.acquire()
            answer = await self._queue.run(inference, on_end=version.release)
        self.count(spec, api, grpc.StatusCode.OK, start, inference.num_images)
        answered = ModelSpec(name=spec.name, signature_name=spec.signature_name or SERVING_DEFAULT)
        answered.version.value = version.number
        return answered, answer

    @contextmanager
    def counted_errors(self, spec: ModelSpec, api: Api) -> Iterator[None]:
        """Counts a request as failed if the body of the `with` statement raises a ServingError."""
        start = time.perf_counter()
        try:
            yield
        except ServingError as error:
            self.count(spec, api, error.code, start)
            raise

    def count(self, spec: ModelSpec, api: Api, code: grpc.StatusCode, start: float, num_images: int = 0) -> None:
        """Counts a request that started at `start` on the performance counter."""
        # Clients must not create metrics by inventing names.
        name = spec.name if spec.name in self._watcher.models else ""
        self.metrics.request_finished(name, api, code, time.perf_counter() - start, num_images)

    def signatures(self, spec: ModelSpec) -> tuple[int, Mapping[str, SignatureDef]]:
        """Returns the number of a served version and its signatures by name.

        Raises:
            ServingError: The version is not served.
        """
        version = self._find(spec)
        return version.number, version.model.signatures

    def statuses(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """Returns the status of one version, or of all if the spec names none; the newest first.

        Raises:
            ServingError: There is no such version.
        """
        number = self._number(spec)
        model = self._watcher.models.get(spec.name)
        found = [status for status in (model.statuses() if model else []) if number in (None, status.version)]
        if not found:
            requested = "any versions" if number is None else f"version {number}"
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find {requested} of model {spec.name}")
        return found

    def loaded_models(self) -> dict[str, bool]:
        """Returns whether a version is loaded, by model."""
        return {
            name: any(status.state == ModelVersionStatus.AVAILABLE for status in model.statuses())
            for name, model in self._watcher.models.items()
        }

    def _find(self, spec: ModelSpec) -> ServedVersion:
        number = self._number(spec)
        if spec.name not in self._watcher.models:
            raise not_served(spec.name, number)
        return self._watcher.models[spec.name].find(number)

    def _number(self, spec: ModelSpec) -> int | None:
        if not spec.HasField("version_label"):
            return spec.version.value if spec.HasField("version") else None
        config = self._watcher.configs.get(spec.name)
        if config is None or spec.version_label not in config.version_labels:
            raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        return config.version_labels[spec.version_label]

    def _check_size(self, inference: Inference) -> None:
        size, limit = inference.num_images, self._options.max_batch_size
        if size > limit:
            raise invalid(f"Task size {size} is larger than maximum input batch size {limit}")
        # TF Serving refuses an empty batch only in the REST row format.
        if any(values.ndim and not len(values) for values in inference.inputs.values()):
            raise invalid("The batch is empty; expected at least one image.")
