import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from registry.labels import LabelError
from serving.server.errors import ServingError
from serving.server.messages import VersionState, VersionStatus
from serving.server.model_watcher import ModelWatcher
from serving.server.observer import FinishedRequest
from serving.server.options import ServerOptions

Publish = Callable[..., Path]

ONLY_VERSION_1 = 'model_config_list { config { name: "digits" model_version_policy { specific { versions: 1 } } } }'


class Witness:
    """Wakes up those who wait for a version to come to a state."""

    def __init__(self) -> None:
        self._statuses: asyncio.Queue[tuple[str, VersionStatus]] = asyncio.Queue()

    def request_finished(self, request: FinishedRequest) -> None:
        raise AssertionError("nobody asks here")

    def version_changed(self, model: str, status: VersionStatus) -> None:
        self._statuses.put_nowait((model, status))

    async def wait_for(self, model: str, version: int, state: VersionState) -> VersionStatus:
        async with asyncio.timeout(60):
            while True:
                name, status = await self._statuses.get()
                if (name, status.version, status.state) == (model, version, state):
                    return status


@asynccontextmanager
async def watching(root: Path) -> AsyncIterator[tuple[ModelWatcher, Witness]]:
    witness = Witness()
    watcher = ModelWatcher(ServerOptions(root, poll_seconds=0.01), witness)
    await watcher.start()
    try:
        yield watcher, witness
    finally:
        await watcher.stop()


def run(root: Path, scenario: Callable[[ModelWatcher, Witness], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with watching(root) as (watcher, witness):
            await scenario(watcher, witness)

    asyncio.run(inside())


def newest(watcher: ModelWatcher) -> int:
    return watcher.models["digits"].find(None).number


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    directory = tmp_path / "digits"
    directory.mkdir()
    return directory


def test_the_newest_version_is_there_at_the_start_and_later_ones_follow(digits: Path, tiny_model: Publish) -> None:
    for version in (1, 2):
        tiny_model(digits, version)

    async def scenario(watcher: ModelWatcher, witness: Witness) -> None:
        assert newest(watcher) == 2
        tiny_model(digits, 3)
        await witness.wait_for("digits", 2, VersionState.END)
        assert newest(watcher) == 3
        tiny_model(digits.with_name("clothes"), 9)
        await witness.wait_for("clothes", 9, VersionState.AVAILABLE)

    run(digits.parent, scenario)


def test_a_model_may_come_after_the_start(digits: Path, tiny_model: Publish) -> None:
    async def scenario(watcher: ModelWatcher, witness: Witness) -> None:
        with pytest.raises(ServingError, match="Servable not found"):
            newest(watcher)
        tiny_model(digits, 1)
        await witness.wait_for("digits", 1, VersionState.AVAILABLE)
        assert newest(watcher) == 1

    run(digits.parent, scenario)


def test_a_version_that_does_not_load_leaves_the_old_one_until_it_is_mended(digits: Path, tiny_model: Publish) -> None:
    tiny_model(digits, 1)

    async def scenario(watcher: ModelWatcher, witness: Witness) -> None:
        broken = tiny_model(digits.with_name("elsewhere"), 2)
        content = (broken / "saved_model.pb").read_bytes()
        (broken / "saved_model.pb").write_bytes(content[: len(content) // 2])
        broken.rename(digits / "2")
        status = await witness.wait_for("digits", 2, VersionState.END)
        assert "digits/2: " in status.error_message
        assert newest(watcher) == 1
        (digits / "2" / "saved_model.pb").write_bytes(content)
        await witness.wait_for("digits", 2, VersionState.AVAILABLE)
        assert newest(watcher) == 2

    run(digits.parent, scenario)


def test_a_version_whose_warm_up_fails_is_not_served(digits: Path, tiny_model: Publish) -> None:
    version = tiny_model(digits, 1)
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"damaged" * 9)

    async def scenario(watcher: ModelWatcher, witness: Witness) -> None:
        status = await witness.wait_for("digits", 1, VersionState.END)
        assert "tf_serving_warmup_requests is damaged" in status.error_message
        with pytest.raises(ServingError, match="Servable not found"):
            newest(watcher)

    run(digits.parent, scenario)


def test_the_version_before_comes_back_when_the_newest_is_removed(digits: Path, tiny_model: Publish) -> None:
    tiny_model(digits, 1)
    tiny_model(digits, 2)

    async def scenario(watcher: ModelWatcher, witness: Witness) -> None:
        shutil.rmtree(digits / "2")
        await witness.wait_for("digits", 2, VersionState.END)
        assert newest(watcher) == 1

    run(digits.parent, scenario)


def test_models_config_is_read_again_when_it_changes(digits: Path, tiny_model: Publish) -> None:
    tiny_model(digits, 1)
    tiny_model(digits, 2)

    async def scenario(watcher: ModelWatcher, witness: Witness) -> None:
        assert newest(watcher) == 2
        (digits.parent / "models.config").write_text(ONLY_VERSION_1)
        await witness.wait_for("digits", 2, VersionState.END)
        assert newest(watcher) == 1

    run(digits.parent, scenario)


def test_what_is_served_stays_while_models_config_is_wrong(
    digits: Path, tiny_model: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model(digits, 1)
    file = digits.parent / "models.config"

    async def scenario(watcher: ModelWatcher, witness: Witness) -> None:
        file.write_text("models: digits")
        tiny_model(digits, 2)
        async with asyncio.timeout(60):
            while not caplog.records:
                await asyncio.sleep(0.01)
        assert newest(watcher) == 1
        file.unlink()
        await witness.wait_for("digits", 2, VersionState.AVAILABLE)

    with caplog.at_level(logging.ERROR):
        run(digits.parent, scenario)
    assert "models.config: not a ModelServerConfig" in caplog.messages[0]


def test_a_model_that_cannot_be_looked_at_is_named_and_the_others_are_served(
    digits: Path, tiny_model: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model(digits, 1)
    config = 'model_config_list { config { name: "clothes" } config { name: "digits" } }'
    (digits.parent / "models.config").write_text(config)

    async def scenario(watcher: ModelWatcher, witness: Witness) -> None:
        assert newest(watcher) == 1
        tiny_model(digits, 2)
        await witness.wait_for("digits", 1, VersionState.END)

    with caplog.at_level(logging.ERROR):
        run(digits.parent, scenario)
    # Once, not with every look.
    (message,) = caplog.messages
    assert "clothes: [Errno 2] No such file or directory" in message


def test_what_cannot_be_read_at_the_start_is_an_error(tmp_path: Path) -> None:
    async def scenario(watcher: ModelWatcher, witness: Witness) -> None:
        raise AssertionError("it has not started")

    with pytest.raises(FileNotFoundError, match="none"):
        run(tmp_path / "none", scenario)
    (tmp_path / "models.config").write_text("models: digits")
    with pytest.raises(LabelError, match="models.config"):
        run(tmp_path, scenario)
