import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest

from serving.server.errors import ErrorCode, ServingError
from serving.server.loaded_model import LoadedModel, ModelLoadError
from serving.server.messages import VersionStatus
from serving.server.served_model import ServedModel


class Loader:
    """Stands in for loading and freeing: writes down what is done, and fails where it is told to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[str] = []
        self.broken: set[int] = set()
        self.model = ServedModel("digits", self._load, self._close, self._notify)

    async def follow(self, *numbers: int) -> list[str]:
        """Follows versions; returns what was done."""
        before = len(self.events)
        await self.model.follow({number: self.folder(number) for number in numbers})
        await asyncio.sleep(0)
        return self.events[before:]

    def folder(self, number: int) -> Path:
        directory = self.root / str(number)
        if not directory.exists():
            directory.mkdir()
            (directory / "saved_model.pb").touch()
        return directory

    async def _load(self, directory: Path) -> LoadedModel:
        if int(directory.name) in self.broken:
            raise ModelLoadError(f"{directory.name} is broken")
        return cast(Any, int(directory.name))

    async def _close(self, model: LoadedModel) -> None:
        self.events.append(f"free {model}")

    def _notify(self, name: str, status: VersionStatus) -> None:
        assert name == "digits"
        self.events.append(f"{status.version} {status.state}")


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


def run(scenario: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), timeout=60))


def states(model: ServedModel) -> list[str]:
    return [f"{status.version} {status.state} {status.error_code}" for status in model.statuses()]


def test_the_old_version_goes_when_the_new_one_answers(loader: Loader) -> None:
    async def scenario() -> None:
        assert await loader.follow(7) == ["7 START", "7 LOADING", "7 AVAILABLE"]
        assert await loader.follow(8) == [
            "8 START",
            "8 LOADING",
            "8 AVAILABLE",
            "7 UNLOADING",
            "free 7",
            "7 END",
        ]
        assert loader.model.find(None).number == 8
        assert states(loader.model) == ["8 AVAILABLE OK", "7 END OK"]
        assert await loader.follow(8) == []

    run(scenario)


def test_a_version_is_freed_after_its_last_request_and_keeps_no_other_waiting(loader: Loader) -> None:
    async def scenario() -> None:
        await loader.follow(7)
        busy = loader.model.find(None)
        busy.acquire()
        busy.acquire()
        await loader.follow(8)
        await loader.follow(9)
        busy.release()
        await asyncio.sleep(0)
        assert states(loader.model) == ["9 AVAILABLE OK", "8 END OK", "7 UNLOADING OK"]
        assert "free 7" not in loader.events
        busy.release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert loader.events[-2:] == ["free 7", "7 END"]

    run(scenario)


def test_a_broken_version_is_reported_and_leaves_the_old_one_until_it_is_mended(loader: Loader) -> None:
    async def scenario() -> None:
        await loader.follow(7)
        loader.broken = {8}
        assert await loader.follow(8) == ["8 START", "8 LOADING", "8 END"]
        newest = loader.model.statuses()[0]
        assert (newest.error_code, newest.error_message) == ("INVALID_ARGUMENT", "8 is broken")
        assert loader.model.find(None).number == 7
        assert await loader.follow(8) == []
        loader.broken.clear()
        os.utime(loader.folder(8) / "saved_model.pb", (1, 1))
        assert "8 AVAILABLE" in await loader.follow(8)
        assert states(loader.model) == ["8 AVAILABLE OK", "7 END OK"]

    run(scenario)


@pytest.mark.parametrize(
    ("numbers", "done"),
    [
        # The way back: what is wanted is loaded before what is not wanted goes.
        ([7], ["7 START", "7 LOADING", "7 AVAILABLE", "8 UNLOADING", "free 8", "8 END"]),
        # The newest first: it answers most requests.
        (
            [8, 9, 10],
            ["9 START", "10 START", "10 LOADING", "10 AVAILABLE", "9 LOADING", "9 AVAILABLE"],
        ),
        # As in TF Serving, an empty folder serves nothing.
        ([], ["8 UNLOADING", "free 8", "8 END"]),
    ],
)
def test_what_is_wanted_decides(loader: Loader, numbers: Iterable[int], done: list[str]) -> None:
    async def scenario() -> None:
        await loader.follow(8)
        assert await loader.follow(*numbers) == done

    run(scenario)


def test_what_is_not_served_is_not_found(loader: Loader) -> None:
    async def scenario() -> None:
        with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(digits\)") as error:
            loader.model.find(None)
        assert error.value.code == ErrorCode.NOT_FOUND
        await loader.follow(7)
        with pytest.raises(ServingError, match=r"Servable not found for request: Specific\(digits, 8\)"):
            loader.model.find(8)

    run(scenario)


def test_close_frees_also_what_is_in_use(loader: Loader) -> None:
    async def scenario() -> None:
        await loader.follow(7)
        loader.model.find(None).acquire()
        await loader.follow(8)
        await loader.model.close()
        assert {"free 7", "free 8"} <= set(loader.events)
        assert states(loader.model) == ["8 END OK", "7 END OK"]

    run(scenario)
