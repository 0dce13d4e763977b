"""Answers requests with the versions of the models in a folder, and follows what is pushed there."""

import time
from collections.abc import Mapping

from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from registry.signatures import SERVING_DEFAULT
from serving.server.errors import ErrorCode, ServingError
from serving.server.inference import Inference, batch_size
from serving.server.inference_queue import InferenceQueue
from serving.server.messages import Api, ModelAnswer, ModelRequest, VersionState, VersionStatus
from serving.server.model_watcher import ModelWatcher
from serving.server.observer import FinishedRequest, Observer, SilentObserver
from serving.server.options import ServerOptions
from serving.server.served_model import not_served
from serving.server.served_version import ServedVersion

__all__ = ["Api", "ModelAnswer", "ModelRequest", "ModelServer", "VersionState", "VersionStatus"]


class ModelServer:
    """The one server behind both APIs. All methods are called in one event loop.

    Args:
        options: What to serve, and its limits.
        observer: Is told of requests and versions.
    """

    def __init__(self, options: ServerOptions, observer: Observer | None = None) -> None:
        self._options = options
        self._observer = observer or SilentObserver()
        self._watcher = ModelWatcher(options, self._observer)
        self._queue = InferenceQueue(options.max_concurrency, options.max_queue, options.request_timeout_seconds)
        self._is_stopping = False

    async def start(self) -> None:
        """Loads what is there, and from then on what is pushed; there need not be a version yet.

        Raises:
            registry.labels.LabelError: `models.config` cannot be read.
            OSError: Neither can the serving folder.
        """
        await self._watcher.start()

    async def stop(self) -> None:
        """Refuses new requests, waits for those that run, up to the grace period, and frees all models."""
        self._is_stopping = True
        await self._queue.wait_until_idle(self._options.grace_seconds)
        # A request that still runs is told that it is over when its session closes.
        await self._watcher.stop()
        await self._queue.close()

    async def predict(self, request: ModelRequest) -> ModelAnswer:
        """Answers a request with the version that is current when it comes.

        Raises:
            ServingError: It is not answered.
        """
        started = time.perf_counter()
        version = None
        try:
            version = self._find_for(request)
            answer = await self._answer(request, version)
        except ServingError as error:
            self._observer.request_finished(self._finished(request, version, error.code, started))
            raise
        self._observer.request_finished(self._finished(request, version, None, started))
        return answer

    def signatures(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> tuple[int, Mapping[str, SignatureDef]]:
        """Returns the number of a served version and its signatures by name.

        Args:
            name: Of the model.
            version: Its number.
            label: Or its label; without both it is the newest.

        Raises:
            ServingError: It is not served.
        """
        served = self._find(name, version, label)
        return served.number, served.model.signatures

    def statuses(self, name: str, version: int | None = None, label: str | None = None) -> list[VersionStatus]:
        """Returns how the versions of a model fare, the newest first.

        Args:
            name: Of the model.
            version: The only version that is asked for.
            label: Or its label.

        Raises:
            ServingError: There is none.
        """
        number = self._number(name, version, label)
        model = self._watcher.models.get(name)
        found = [status for status in (model.statuses() if model else []) if number in (None, status.version)]
        if not found:
            asked = f"any versions of model {name}" if number is None else f"version {number} of model {name}"
            raise ServingError(ErrorCode.NOT_FOUND, f"Could not find {asked}")
        return found

    def _find(self, name: str, version: int | None, label: str | None) -> ServedVersion:
        number = self._number(name, version, label)
        if name not in self._watcher.models:
            raise not_served(name, number)
        return self._watcher.models[name].find(number)

    def _number(self, name: str, version: int | None, label: str | None) -> int | None:
        if label is None:
            return version
        config = self._watcher.configs.get(name)
        if config is None or label not in config.version_labels:
            raise ServingError(ErrorCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        return config.version_labels[label]

    def _find_for(self, request: ModelRequest) -> ServedVersion:
        if self._is_stopping:
            raise ServingError(ErrorCode.UNAVAILABLE, "The server is being stopped.")
        return self._find(request.name, request.version, request.label)

    async def _answer(self, request: ModelRequest, version: ServedVersion) -> ModelAnswer:
        size, limit = batch_size(request.inputs), self._options.max_batch_size
        if size > limit:
            message = f"Task size {size} is larger than maximum input batch size {limit}"
            raise ServingError(ErrorCode.INVALID_ARGUMENT, message)
        # TF Serving, too, refuses an empty list of `instances`; here no way of sending nothing is answered.
        if any(values.ndim and not len(values) for values in request.inputs.values()):
            raise ServingError(ErrorCode.INVALID_ARGUMENT, "The batch is empty; expected at least one image.")
        inference = Inference(version.model, request.signature, request.inputs, request.outputs)
        version.acquire()
        outputs = await self._queue.run(inference, on_end=version.release)
        return ModelAnswer(request.name, version.number, request.signature or SERVING_DEFAULT, outputs)

    def _finished(
        self, request: ModelRequest, version: ServedVersion | None, error: ErrorCode | None, started: float
    ) -> FinishedRequest:
        signature = request.signature or SERVING_DEFAULT
        known = version is not None and signature in version.model.signatures
        return FinishedRequest(
            model=request.name if request.name in self._watcher.models else "",
            version=version.number if version else None,
            signature=signature if known else "",
            api=request.api,
            error=error,
            seconds=time.perf_counter() - started,
            batch_size=batch_size(request.inputs),
        )
