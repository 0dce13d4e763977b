import asyncio
import gc
import logging
import os
import shutil
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from registry.labels import LabelError
from registry.provenance import Origin
from registry.publishing import publish
from registry.signing import TrustPolicy, prepare_private_key
from registry.versions import Version
from serving.server.interface import ServerOptions, ServingError
from serving.server.model import LoadedModel, ModelLoadError
from serving.server.versions import ModelWatcher, ServedModel, read_serving_root

ANY = TrustPolicy(allow_unverified=True)

Publish = Callable[..., Path]

state_name = ModelVersionStatus.State.Name


def make_version(model: Path, name: str) -> Path:
    (model / name).mkdir(parents=True)
    (model / name / "saved_model.pb").touch()
    return model / name


def write_config(root: Path, model: str) -> None:
    (root / "models.config").write_text(f"model_config_list {{ config {{ {model} }} }}")


def test_without_models_config_every_folder_is_a_model(tmp_path: Path) -> None:
    for name in ("digits", "clothes", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    configs, wanted, problems = read_serving_root(tmp_path, lambda model, version: True)
    assert {name: config.name for name, config in configs.items()} == {"digits": "digits", "clothes": "clothes"}
    assert (wanted, problems) == ({"digits": {}, "clothes": {}}, set())


def test_models_config_names_the_models_and_their_labels(tmp_path: Path) -> None:
    (tmp_path / "clothes").mkdir()
    write_config(tmp_path, 'name: "digits" base_path: "/models/digits" version_labels { key: "stable" value: 3 }')
    configs, wanted, problems = read_serving_root(tmp_path, lambda model, version: True)
    assert (list(configs), configs["digits"].version_labels["stable"]) == (["digits"], 3)
    assert wanted == {}
    assert [problem.split(":")[0] for problem in problems] == ["digits"]


def test_versions_are_complete_folders_named_by_numbers(tmp_path: Path) -> None:
    model = tmp_path / "digits"
    expected = {int(name): make_version(model, name) for name in ("1", "10", str(2**63 - 1))}
    for name in (".publishing-3", "latest", "²", "-1", str(2**63)):
        make_version(model, name)
    (model / "4").mkdir()
    (model / "5").touch()
    write_config(tmp_path, 'name: "digits" model_version_policy { all {} }')
    assert read_serving_root(tmp_path, lambda model, version: True)[1] == {"digits": expected}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", {10}),
        ("latest {}", {10}),
        ("latest { num_versions: 2 }", {9, 10}),
        ("latest { num_versions: 7 }", {1, 9, 10}),
        ("all {}", {1, 9, 10}),
        ("specific { versions: 1 versions: 8 }", {1}),
        ("specific {}", set()),
    ],
)
def test_the_policy_chooses_versions(tmp_path: Path, policy: str, expected: set[int]) -> None:
    for number in (9, 1, 10):
        make_version(tmp_path / "digits", str(number))
    write_config(tmp_path, f'name: "digits" model_version_policy {{ {policy} }}')
    assert read_serving_root(tmp_path, lambda model, version: True)[1]["digits"].keys() == expected


class Loader:
    """Fakes loading and freeing: records events, and fails for `broken` versions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[str] = []
        self.broken: set[int] = set()
        self.model = ServedModel("digits", self._load, self._close, self._notify)

    async def follow(self, *numbers: int) -> list[str]:
        """Follows versions; returns the new events."""
        before = len(self.events)
        await self.model.follow({number: self.folder(number) for number in numbers})
        await asyncio.sleep(0)
        return self.events[before:]

    def folder(self, number: int) -> Path:
        directory = self.root / str(number)
        if not directory.exists():
            make_version(self.root, str(number))
        return directory

    async def _load(self, directory: Path) -> LoadedModel:
        if int(directory.name) in self.broken:
            raise ModelLoadError(f"{directory.name} is broken")
        return cast(Any, int(directory.name))

    async def _close(self, model: LoadedModel) -> None:
        self.events.append(f"free {model}")

    def _notify(self, name: str, status: ModelVersionStatus) -> None:
        assert name == "digits"
        self.events.append(f"{status.version} {state_name(status.state)}")


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


def states(model: ServedModel) -> list[str]:
    return [f"{status.version} {state_name(status.state)}" for status in model.statuses()]


async def test_the_old_version_is_unloaded_when_the_new_one_is_available(loader: Loader) -> None:
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
    assert states(loader.model) == ["8 AVAILABLE", "7 END"]
    assert await loader.follow(8) == []


async def test_a_version_is_freed_after_its_last_request_and_does_not_delay_others(loader: Loader) -> None:
    await loader.follow(7)
    busy = loader.model.find(None)
    busy.acquire()
    busy.acquire()
    await loader.follow(8)
    await loader.follow(9)
    busy.release()
    await asyncio.sleep(0)
    assert states(loader.model) == ["9 AVAILABLE", "8 END", "7 UNLOADING"]
    assert "free 7" not in loader.events
    busy.release()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert loader.events[-2:] == ["free 7", "7 END"]


async def test_the_old_version_stays_until_a_broken_one_is_fixed(loader: Loader) -> None:
    await loader.follow(7)
    loader.broken = {8}
    assert await loader.follow(8) == ["8 START", "8 LOADING", "8 END"]
    newest = loader.model.statuses()[0]
    error = newest.status
    assert (error.error_code, error.error_message) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "8 is broken")
    assert loader.model.find(None).number == 7
    assert await loader.follow(8) == []
    loader.broken.clear()
    os.utime(loader.folder(8) / "saved_model.pb", (1, 1))
    assert "8 AVAILABLE" in await loader.follow(8)
    assert states(loader.model) == ["8 AVAILABLE", "7 END"]


@pytest.mark.parametrize(
    ("numbers", "done"),
    [
        # A rollback: the wanted version is loaded before the other is unloaded.
        ([7], ["7 START", "7 LOADING", "7 AVAILABLE", "8 UNLOADING", "free 8", "8 END"]),
        # The newest first.
        (
            [8, 9, 10],
            ["9 START", "10 START", "10 LOADING", "10 AVAILABLE", "9 LOADING", "9 AVAILABLE"],
        ),
        # As in TF Serving, an empty folder unloads everything.
        ([], ["8 UNLOADING", "free 8", "8 END"]),
    ],
)
async def test_following_other_versions(loader: Loader, numbers: Iterable[int], done: list[str]) -> None:
    await loader.follow(8)
    assert await loader.follow(*numbers) == done


async def test_close_frees_versions_in_use(loader: Loader) -> None:
    await loader.follow(7)
    loader.model.find(None).acquire()
    await loader.follow(8)
    await loader.model.close()
    assert {"free 7", "free 8"} <= set(loader.events)
    assert states(loader.model) == ["8 END", "7 END"]


@asynccontextmanager
async def watching(root: Path, changes: Any, policy: TrustPolicy = ANY) -> AsyncIterator[ModelWatcher]:
    watcher = ModelWatcher(ServerOptions(root, policy, poll_seconds=0.01), changes)
    await watcher.start()
    try:
        yield watcher
    finally:
        await watcher.stop()


def newest(watcher: ModelWatcher) -> int:
    return watcher.models["digits"].find(None).number


async def test_new_versions_and_models_are_loaded_and_removed_ones_unloaded(
    root: Path, tiny_model: Publish, changes: Any
) -> None:
    async with watching(root, changes) as watcher:
        with pytest.raises(ServingError, match="Servable not found"):
            newest(watcher)
        tiny_model(root / "digits", 1)
        await changes.wait_for(1, "AVAILABLE")
        tiny_model(root / "digits", 2)
        await changes.wait_for(1, "END")
        assert newest(watcher) == 2
        tiny_model(root / "clothes", 9)
        await changes.wait_for(9, "AVAILABLE", model="clothes")
        shutil.rmtree(root / "digits" / "2")
        await changes.wait_for(2, "END")
        assert newest(watcher) == 1


async def test_only_verified_versions_are_served_and_the_others_are_reported(
    root: Path,
    tiny_model: Publish,
    changes: Any,
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    models = tmp_path_factory.mktemp("models")
    key = prepare_private_key(models / "key.pem", None, is_development=True, say=lambda line: None)

    def push(number: int) -> Version:
        return publish(tiny_model(models, number), root / "digits", {}, Origin(), key)

    good, changed = push(1).number, push(2)
    (changed.directory / "saved_model.pb").write_bytes((changed.directory / "saved_model.pb").read_bytes() + b"\0")
    # The numbers after one from the future do not depend on the clock.
    dropped = changed.number + 1_000_000
    tiny_model(root / "digits", dropped)
    async with watching(root, changes, TrustPolicy(key)) as watcher:
        assert newest(watcher) == good, "the newest verified version at the start"
        found = {status.version: status.status.error_message for status in watcher.models["digits"].statuses()}
        assert "saved_model.pb: has changed since version" in found[changed.number]
        assert "has no provenance, so no pipeline has pushed it; remove it" in found[dropped]
        # A good version replaces it; another bad one does not.
        better = push(3).number
        await changes.wait_for(better, "AVAILABLE")
        tiny_model(root / "digits", better + 1)
        await changes.wait_for(better + 1, "END")
        assert newest(watcher) == better
        # A loaded version stays, whatever happens to its files; another one is checked again when its files change.
        shutil.rmtree(root / "digits" / str(better + 1))
        publish(models / "3", root / "digits", {}, Origin(), key)
        await changes.wait_for(better + 1, "AVAILABLE")
        assert newest(watcher) == better + 1
    refused = [message for message in caplog.messages if "is not served" in message]
    assert len(refused) == 3


async def test_an_unloaded_version_is_freed(root: Path, tiny_model: Publish, changes: Any) -> None:
    # The server does not wait for an automatic collection.
    gc.disable()
    try:
        async with watching(root, changes) as watcher:
            tiny_model(root / "digits", 1)
            await changes.wait_for(1, "AVAILABLE")
            graph = weakref.ref(watcher.models["digits"].find(1).model._session.graph)
            tiny_model(root / "digits", 2)
            await changes.wait_for(1, "END")
            async with asyncio.timeout(60):
                while graph():
                    await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_models_config_may_change_and_is_ignored_while_it_is_wrong(
    root: Path, tiny_model: Publish, changes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model(root / "digits", 1)
    tiny_model(root / "digits", 2)

    caplog.set_level(logging.ERROR)
    async with watching(root, changes) as watcher:
        assert newest(watcher) == 2
        (root / "models.config").write_text("models: digits")
        async with asyncio.timeout(60):
            while not caplog.records:
                await asyncio.sleep(0.01)
        assert newest(watcher) == 2
        write_config(root, 'name: "digits" model_version_policy { specific { versions: 1 } }')
        await changes.wait_for(2, "END")
        assert newest(watcher) == 1
    assert "models.config: not a ModelServerConfig" in caplog.messages[0]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("assets.extra/tf_serving_warmup_requests", "tf_serving_warmup_requests is damaged"),
        ("saved_model.pb", "digits/1: "),
    ],
)
async def test_a_version_that_does_not_load_or_warm_up_is_not_served(
    root: Path, tiny_model: Publish, changes: Any, file: str, message: str
) -> None:
    version = tiny_model(root / "digits", 1)
    (version / file).write_bytes(b"damaged" * 9)

    async with watching(root, changes) as watcher:
        (status,) = watcher.models["digits"].statuses()
        assert message in status.status.error_message
        with pytest.raises(ServingError, match="Servable not found"):
            newest(watcher)


async def test_a_model_without_a_folder_is_logged_once_and_the_others_are_served(
    root: Path, tiny_model: Publish, changes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model(root / "digits", 1)
    write_config(root, 'name: "clothes" } config { name: "digits"')

    caplog.set_level(logging.ERROR)
    async with watching(root, changes) as watcher:
        assert newest(watcher) == 1
        tiny_model(root / "digits", 2)
        await changes.wait_for(1, "END")
    (message,) = caplog.messages
    assert "clothes: [Errno 2] No such file or directory" in message


async def test_a_serving_folder_that_cannot_be_read_at_the_start(tmp_path: Path, changes: Any) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        await ModelWatcher(ServerOptions(tmp_path / "none"), changes).start()
    (tmp_path / "models.config").write_text("models: digits")
    with pytest.raises(LabelError, match="models.config"):
        await ModelWatcher(ServerOptions(tmp_path), changes).start()
