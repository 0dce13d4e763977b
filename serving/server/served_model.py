"""The versions of one model: which are loaded, which answer, and how each fares."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from serving.server.errors import ErrorCode, ServingError
from serving.server.loaded_model import LoadedModel, ModelLoadError
from serving.server.messages import VersionState, VersionStatus
from serving.server.served_version import ServedVersion

logger = logging.getLogger(__name__)

Load = Callable[[Path], Awaitable[LoadedModel]]
"""Loads a version and warms it up; raises ModelLoadError."""
Close = Callable[[LoadedModel], Awaitable[None]]
Notify = Callable[[str, VersionStatus], None]
"""Is told the name of the model and the new status of one of its versions."""


class ServedModel:
    """A model and its versions. All methods are called in the event loop.

    Args:
        name: Of the model.
        load: Loads a version.
        close: Frees one.
        notify: Is told how each version fares.
    """

    def __init__(self, name: str, load: Load, close: Close, notify: Notify) -> None:
        self.name = name
        self._load = load
        self._close = close
        self._notify = notify
        self._available: dict[int, ServedVersion] = {}
        self._statuses: dict[int, VersionStatus] = {}
        self._failed: dict[int, frozenset] = {}
        self._retiring: dict[asyncio.Task, ServedVersion] = {}

    def find(self, number: int | None) -> ServedVersion:
        """Finds the version that answers a request.

        Args:
            number: Of the version; None for the newest.

        Raises:
            ServingError: It is not served.
        """
        if number is None and self._available:
            number = max(self._available)
        if number is None or number not in self._available:
            raise not_served(self.name, number)
        return self._available[number]

    def statuses(self) -> list[VersionStatus]:
        """Returns how the versions fare, also those that are gone; the newest first."""
        return sorted(self._statuses.values(), key=lambda status: status.version, reverse=True)

    async def follow(self, wanted: Mapping[int, Path]) -> None:
        """Loads and drops versions until those that are wanted are served, if they can be loaded.

        A version goes only when one that is wanted answers, as TF Serving's AvailabilityPreservingPolicy has it:
        tensorflow_serving/core/availability_preserving_policy.cc.

        Args:
            wanted: Folders of the versions by number; if none are wanted, all go.
        """
        self._failed = {number: files for number, files in self._failed.items() if number in wanted}
        to_try = {number for number in wanted if self._may_load(number, wanted[number])}
        for number in sorted(to_try):
            self._set(VersionStatus(number, VersionState.START))
        while True:
            unwanted = sorted(self._available.keys() - wanted.keys())
            if unwanted and (not wanted or len(unwanted) > 1 or self._available.keys() & wanted.keys()):
                self._drop(unwanted[0])
            elif to_try:
                number = max(to_try)
                to_try.remove(number)
                await self._bring_up(number, wanted[number])
            else:
                return

    async def close(self) -> None:
        """Frees all versions at once; requests that still run are refused."""
        for number in list(self._available):
            self._drop(number)
        for version in self._retiring.values():
            version.abandon()
        await asyncio.gather(*self._retiring)

    def _may_load(self, number: int, directory: Path) -> bool:
        # What failed once fails again, unless somebody has mended it.
        failed = self._failed.get(number)
        return number not in self._available and (failed is None or failed != _file_states(directory))

    async def _bring_up(self, number: int, directory: Path) -> None:
        files = _file_states(directory)
        self._set(VersionStatus(number, VersionState.LOADING))
        try:
            model = await self._load(directory)
        except ModelLoadError as error:
            self._failed[number] = files
            self._set(VersionStatus(number, VersionState.END, ErrorCode.INVALID_ARGUMENT.name, str(error)))
            logger.error("%s version %d cannot be served: %s", self.name, number, error)
            return
        self._failed.pop(number, None)
        self._available[number] = ServedVersion(number, model)
        self._set(VersionStatus(number, VersionState.AVAILABLE))
        logger.info("%s version %d is served", self.name, number)

    def _drop(self, number: int) -> None:
        version = self._available.pop(number)
        self._set(VersionStatus(number, VersionState.UNLOADING))
        task = asyncio.create_task(self._retire(version))
        self._retiring[task] = version
        task.add_done_callback(self._retiring.pop)

    async def _retire(self, version: ServedVersion) -> None:
        await version.wait_until_unused()
        await self._close(version.model)
        # It may have been wanted again meanwhile.
        if self._statuses[version.number].state == VersionState.UNLOADING:
            self._set(VersionStatus(version.number, VersionState.END))
        logger.info("%s version %d is no longer served", self.name, version.number)

    def _set(self, status: VersionStatus) -> None:
        self._statuses[status.version] = status
        self._notify(self.name, status)


def not_served(name: str, number: int | None) -> ServingError:
    """Returns the error of a request to a version that is not served, or, without a number, to the newest."""
    request = f"Latest({name})" if number is None else f"Specific({name}, {number})"
    return ServingError(ErrorCode.NOT_FOUND, f"Servable not found for request: {request}")


def _file_states(directory: Path) -> frozenset:
    states = set()
    # Somebody may remove it while we look.
    with suppress(OSError):
        for path in directory.rglob("*"):
            with suppress(OSError):
                state = path.stat()
                states.add((path, state.st_mtime_ns, state.st_size, state.st_ino))
    return frozenset(states)
