"""Tests the commands of `digits` in a container that can write only to its workspace."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.signatures import DEFAULT_REST_PORT
from tests.containers.engine import CONFINED, Engine, user

pytestmark = pytest.mark.containers

DRAWING = "data/samples/7-pencil.png"
START_SECONDS = 120

RunInImage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run_digits(run_in_image: RunInImage, workspace: Path) -> Callable[[], Any]:
    """Returns a function that runs the smoke profile and returns its JSON."""

    def run() -> Any:
        command = ("digits", "run", "--profile", "smoke", "--json")
        process = run_in_image(*command, options=(f"--volume={workspace}:/workspace",))
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout)

    return run


@pytest.fixture(scope="module")
def first_run(run_digits: Callable[[], Any]) -> Any:
    return run_digits()


@pytest.fixture(scope="module")
def server(engine: Engine, image: str, workspace: Path, first_run: Any) -> Iterator[str]:
    """A container that serves the pushed model."""
    options = (*CONFINED, f"--user={user()}", f"--volume={workspace}:/workspace", "--env=DIGITS_NAME=digits-smoke")
    container = engine.output("run", "--detach", *options, image, "digits", "serve").strip()
    yield container
    engine.run("rm", "--force", container)


def test_run_pushes(first_run: Any, workspace: Path) -> None:
    assert first_run["outcome"] == "pushed"
    assert first_run["model"] == f"/workspace/serving/digits-smoke/{first_run['version']}"
    assert (workspace / "serving" / "digits-smoke" / str(first_run["version"]) / "saved_model.pb").is_file()


def test_second_run_is_cached(first_run: Any, run_digits: Callable[[], Any]) -> None:
    again = run_digits()
    assert {step["state"] for step in again["steps"]} == {"cached"}
    assert again["served_version"] == first_run["version"]


def test_serves_and_stops(engine: Engine, server: str) -> None:
    ask = ("exec", server, "digits", "predict", "--json", "--url", f"http://localhost:{DEFAULT_REST_PORT}", DRAWING)
    deadline = time.monotonic() + START_SECONDS
    while (answer := engine.run(*ask)).returncode != 0:
        assert time.monotonic() < deadline, f"{answer.stderr}\n{engine.run('logs', server).stderr}"
        time.sleep(0.5)
    assert '"label": "7"' in answer.stdout
    engine.output("stop", "--time", "30", server)
    assert engine.output("inspect", "--format", "{{.State.ExitCode}}", server).strip() == "0"
