"""Keeps what is served in step with what is in the serving folder."""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from registry.labels import LabelError
from serving.server.loaded_model import LoadedModel
from serving.server.model_config import choose_versions, find_versions, read_model_configs
from serving.server.observer import Observer
from serving.server.options import ServerOptions
from serving.server.served_model import ServedModel

logger = logging.getLogger(__name__)


class ModelWatcher:
    """The served models, and the task that looks after them. All methods are called in the event loop.

    Args:
        options: What to watch, and how often.
        observer: Is told how each version fares.

    Attributes:
        models: By name.
        configs: What is wanted of each, by name.
    """

    def __init__(self, options: ServerOptions, observer: Observer) -> None:
        self.models: dict[str, ServedModel] = {}
        self.configs: Mapping[str, ModelConfig] = {}
        self._options = options
        self._observer = observer
        # Files are read and models loaded in one thread: a slow disk holds up no request.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._task: asyncio.Task | None = None
        self._complaints: set[str] = set()

    async def start(self) -> None:
        """Loads what is there, then goes on looking.

        Raises:
            registry.labels.LabelError: `models.config` cannot be read.
            OSError: Neither can the serving folder.
        """
        await self._look()
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Ends the looking and frees all models; requests that still run are refused."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for model in self.models.values():
            await model.close()
        await asyncio.to_thread(self._thread.shutdown)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._options.poll_seconds)
            try:
                await self._look()
            # What is served stays so, whatever happens to the folder.
            except (OSError, LabelError) as error:
                self._complain({str(error)})
            except Exception:
                logger.exception("The serving folder could not be looked at.")

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self.configs, wanted, complaints = await loop.run_in_executor(self._thread, _read, self._options.serving_root)
        self._complain(complaints)
        for name, versions in wanted.items():
            await self._model(name).follow(versions)
        for name in self.models.keys() - self.configs.keys():
            await self.models[name].follow({})

    def _model(self, name: str) -> ServedModel:
        if name not in self.models:
            self.models[name] = ServedModel(name, self._load, self._close, self._observer.version_changed)
        return self.models[name]

    async def _load(self, directory: Path) -> LoadedModel:
        load = partial(_load_warm, directory, self._options.num_threads)
        return await asyncio.get_running_loop().run_in_executor(self._thread, load)

    async def _close(self, model: LoadedModel) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, model.close)

    def _complain(self, complaints: set[str]) -> None:
        # Once, not with every look.
        for complaint in complaints - self._complaints:
            logger.error("%s", complaint)
        self._complaints = complaints


def _read(serving_root: Path) -> tuple[dict[str, ModelConfig], dict[str, dict[int, Path]], set[str]]:
    """Returns the models, the versions that are wanted of each, and why some cannot be known."""
    configs, wanted, complaints = read_model_configs(serving_root), {}, set()
    for name, config in configs.items():
        try:
            wanted[name] = choose_versions(config, find_versions(serving_root / name))
        except OSError as error:
            complaints.add(f"{name}: {error}")
    return configs, wanted, complaints


def _load_warm(directory: Path, num_threads: int) -> LoadedModel:
    model = LoadedModel(directory, num_threads)
    try:
        model.warm_up()
    except BaseException:
        model.close()
        raise
    return model
