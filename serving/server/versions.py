"""Keeps the loaded versions of all models in sync with the serving folder."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from registry.labels import MODELS_CONFIG_FILE, LabelError, choose_versions, read_models_config
from registry.versions import SAVED_MODEL_FILE, version_number
from serving.server.interface import ServerOptions, ServingError
from serving.server.model import LoadedModel, ModelLoadError

OnVersionChange = Callable[[str, ModelVersionStatus], None]
"""Called with the name of a model and the new status of one of its versions."""

_logger = logging.getLogger(__name__)


class ServedVersion:
    """A loaded version that counts its running requests. All methods run in the event loop.

    Attributes:
        number: Version number.
        model: The loaded model.
        unused: Set while no request runs.
    """

    def __init__(self, number: int, model: LoadedModel) -> None:
        self.number = number
        self.model = model
        self.unused = asyncio.Event()
        self.unused.set()
        self._num_requests = 0

    def acquire(self) -> None:
        """Starts a request."""
        self._num_requests += 1
        self.unused.clear()

    def release(self) -> None:
        """Ends a request."""
        self._num_requests -= 1
        if not self._num_requests:
            self.unused.set()


class ServedModel:
    """The versions of one model. All methods run in the event loop.

    Args:
        name: Name of the model.
        load: Loads a version and warms it up; raises ModelLoadError.
        close: Frees a version.
        on_version_change: Called for each new status.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[Path], Awaitable[LoadedModel]],
        close: Callable[[LoadedModel], Awaitable[None]],
        on_version_change: OnVersionChange,
    ) -> None:
        self.name = name
        self._load = load
        self._close = close
        self._on_version_change = on_version_change
        self._available: dict[int, ServedVersion] = {}
        self._statuses: dict[int, ModelVersionStatus] = {}
        self._failed: dict[int, frozenset] = {}
        self._retiring: dict[asyncio.Task, ServedVersion] = {}

    def find(self, number: int | None) -> ServedVersion:
        """Returns an available version.

        Args:
            number: Version number; None for the newest.

        Raises:
            ServingError: NOT_FOUND if the version is not available.
        """
        if number is None and self._available:
            number = max(self._available)
        if number is None or number not in self._available:
            raise not_served(self.name, number)
        return self._available[number]

    def statuses(self) -> list[ModelVersionStatus]:
        """Returns the status of every known version, also of unloaded ones; the newest first."""
        return [self._statuses[number] for number in sorted(self._statuses, reverse=True)]

    def refuse(self, reasons: Mapping[int, str]) -> None:
        """Reports versions that must not be used, with the reason for each number."""
        for number, reason in reasons.items():
            known = self._statuses.get(number)
            if known is None or known.status.error_message != reason:
                self._set(number, ModelVersionStatus.END, reason)
                _logger.error("%s: version %d is not served: %s", self.name, number, reason)

    def serves(self, number: int) -> bool:
        """Returns whether a version is available."""
        return number in self._available

    async def follow(self, wanted: Mapping[int, Path]) -> None:
        """Loads and unloads versions until all wanted ones that can be loaded are served.

        A version is unloaded only when a wanted one is available, as in TF Serving's AvailabilityPreservingPolicy:
        tensorflow_serving/core/availability_preserving_policy.cc.

        Args:
            wanted: Folders of the wanted versions by number; if empty, all versions are unloaded.
        """
        self._failed = {number: files for number, files in self._failed.items() if number in wanted}
        to_load = {number for number in wanted if self._may_load(number, wanted[number])}
        for number in sorted(to_load):
            self._set(number, ModelVersionStatus.START)
        while True:
            unwanted = sorted(self._available.keys() - wanted.keys())
            if unwanted and (not wanted or len(unwanted) > 1 or self._available.keys() & wanted.keys()):
                self._unload(unwanted[0])
            elif to_load:
                # The newest first: it answers most requests.
                number = max(to_load)
                to_load.remove(number)
                await self._try_to_load(number, wanted[number])
            else:
                return

    async def close(self) -> None:
        """Unloads all versions at once; running requests fail."""
        for number in list(self._available):
            self._unload(number)
        for version in self._retiring.values():
            version.unused.set()
        await asyncio.gather(*self._retiring)

    def _may_load(self, number: int, directory: Path) -> bool:
        # A version that failed is tried again only when its files have changed.
        failed = self._failed.get(number)
        return number not in self._available and (failed is None or failed != _file_states(directory))

    async def _try_to_load(self, number: int, directory: Path) -> None:
        files = _file_states(directory)
        self._set(number, ModelVersionStatus.LOADING)
        try:
            model = await self._load(directory)
        except ModelLoadError as error:
            self._failed[number] = files
            self._set(number, ModelVersionStatus.END, str(error))
            _logger.error("%s: version %d cannot be loaded: %s", self.name, number, error)
            return
        self._failed.pop(number, None)
        self._available[number] = ServedVersion(number, model)
        self._set(number, ModelVersionStatus.AVAILABLE)
        _logger.info("%s: version %d is loaded", self.name, number)

    def _unload(self, number: int) -> None:
        version = self._available.pop(number)
        self._set(number, ModelVersionStatus.UNLOADING)
        task = asyncio.create_task(self._retire(version))
        self._retiring[task] = version
        task.add_done_callback(self._retiring.pop)

    async def _retire(self, version: ServedVersion) -> None:
        await version.unused.wait()
        await self._close(version.model)
        # The version may be loaded again by now.
        if self._statuses[version.number].state == ModelVersionStatus.UNLOADING:
            self._set(version.number, ModelVersionStatus.END)
        _logger.info("%s: version %d is unloaded", self.name, version.number)

    def _set(self, number: int, state: int, error: str = "") -> None:
        code = grpc.StatusCode.INVALID_ARGUMENT if error else grpc.StatusCode.OK
        status = ModelVersionStatus(
            version=number, state=state, status={"error_code": code.value[0], "error_message": error}
        )
        self._statuses[number] = status
        self._on_version_change(self.name, status)


class ModelWatcher:
    """The served models, and the task that polls the serving folder. All methods run in the event loop.

    Args:
        options: What to watch, and how often.
        on_version_change: Called for each new status of a version.

    Attributes:
        models: Served models by name.
        configs: Their configurations by name.
    """

    def __init__(self, options: ServerOptions, on_version_change: OnVersionChange) -> None:
        self.models: dict[str, ServedModel] = {}
        self.configs: Mapping[str, ModelConfig] = {}
        self._options = options
        self._on_version_change = on_version_change
        # One thread reads files and loads models: a slow disk delays no request.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._task: asyncio.Task | None = None
        self._problems: set[str] = set()
        self._refusals: dict[tuple[str, int], tuple[frozenset, str | None]] = {}
        self._has_closed = False

    async def start(self) -> None:
        """Loads the current versions and starts polling.

        Raises:
            registry.labels.LabelError: `models.config` cannot be read.
            OSError: The serving folder cannot be read.
        """
        await self._poll()
        self._task = asyncio.create_task(self._keep_polling())

    async def stop(self) -> None:
        """Stops polling and unloads all models; running requests fail."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for model in self.models.values():
            await model.close()
        await asyncio.to_thread(self._thread.shutdown)

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(self._options.poll_seconds)
            if self._has_closed:
                self._has_closed = False
                # A graph and its operations refer to each other, so only the garbage collector frees them.
                await self._in_thread(gc.collect)
            try:
                await self._poll()
            # The loaded versions stay, whatever happens to the folder.
            except (OSError, LabelError) as error:
                self._log_new({str(error)})
            except Exception:
                _logger.exception("The serving folder could not be checked.")

    async def _poll(self) -> None:
        self.configs, wanted, problems = await self._in_thread(
            read_serving_root, self._options.serving_root, self._is_usable
        )
        self._log_new(problems)
        for name, versions in wanted.items():
            if name not in self.models:
                self.models[name] = ServedModel(name, self._load, self._close, self._on_version_change)
            refused = {key[1]: reason for key, (_, reason) in self._refusals.items() if reason and key[0] == name}
            self.models[name].refuse(refused)
            # A version that is refused does not end the one that is served.
            if versions or not refused:
                await self.models[name].follow(versions)
        for name in self.models.keys() - self.configs.keys():
            await self.models[name].follow({})

    def _is_usable(self, name: str, directory: Path) -> bool:
        """Returns whether a version may be loaded; checks it again only if its files have changed."""
        key = name, int(directory.name)
        # A loaded version has been checked.
        if name in self.models and self.models[name].serves(key[1]):
            return True
        files = _file_states(directory)
        if key not in self._refusals or self._refusals[key][0] != files:
            self._refusals[key] = files, self._options.trust_policy.refusal(directory)
        return self._refusals[key][1] is None

    async def _load(self, directory: Path) -> LoadedModel:
        model = await self._in_thread(LoadedModel, directory)
        await self._in_thread(model.warm_up)
        return model

    async def _close(self, model: LoadedModel) -> None:
        await self._in_thread(model.close)
        self._has_closed = True

    def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _log_new(self, problems: set[str]) -> None:
        # Once, not with every poll.
        for problem in problems - self._problems:
            _logger.error("%s", problem)
        self._problems = problems


def not_served(name: str, number: int | None) -> ServingError:
    """Returns the error for a version that is not available; without a number, for the newest."""
    request = f"Latest({name})" if number is None else f"Specific({name}, {number})"
    return ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request}")


def read_serving_root(
    serving_root: Path, is_usable: Callable[[str, Path], bool]
) -> tuple[dict[str, ModelConfig], dict[str, dict[int, Path]], set[str]]:
    """Reads which models and versions to serve.

    `models.config` provides names, version policies and labels. Its paths are ignored: they are those of TF Serving's
    container. Without the file every folder is a model, and its newest version is served.

    Args:
        serving_root: Folder with one folder per model and, optionally, `models.config`.
        is_usable: Called with the name of a model and the folder of a version; returns whether it may be served.

    Returns:
        Configurations by model; folders of the wanted versions by model and number; an error message for each model
        whose folder cannot be read. Such a model has no entry among the wanted versions: TF Serving, too, keeps what
        it has loaded.

    Raises:
        registry.labels.LabelError: `models.config` cannot be read.
        OSError: The serving folder cannot be read.
    """
    configured = read_models_config(serving_root / MODELS_CONFIG_FILE).model_config_list.config
    configs = {config.name: config for config in configured} or {
        path.name: ModelConfig(name=path.name)
        for path in serving_root.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    }
    wanted, problems = {}, set()
    for name, config in configs.items():
        try:
            wanted[name] = choose_versions(config, _find_versions(serving_root / name), partial(is_usable, name))
        except OSError as error:
            problems.add(f"{name}: {error}")
    return configs, wanted, problems


def _find_versions(model_directory: Path) -> dict[int, Path]:
    return {
        number: path
        for path in model_directory.iterdir()
        if (number := version_number(path.name)) is not None and (path / SAVED_MODEL_FILE).is_file()
    }


def _file_states(directory: Path) -> frozenset:
    # A file may disappear in the meantime; then the files have changed anyway.
    with suppress(OSError):
        states = ((path, path.stat()) for path in directory.rglob("*"))
        # Unlike the time of a modification, that of a change cannot be set back.
        return frozenset((path, state.st_ctime_ns, state.st_size) for path, state in states)
    return frozenset()
