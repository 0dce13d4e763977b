"""What unit tests and whole runs share: a model that a run has pushed, and asking it the way TF Serving does."""

import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

PROJECT_ROOT = Path(__file__).parents[1]
INPUTS = {"serving_default": "image_bytes", "pixels": "image", "examples": "examples"}
"""Of the signatures that answer with a class."""

# TF Serving loads graphs into sessions; a fresh process has nothing that could stand in for what an export lacks.
_SESSION_SCRIPT = """
    import json, sys
    import numpy as np
    import tensorflow as tf
    directory, requests, inputs = sys.argv[1], np.load(sys.argv[2]), json.loads(sys.argv[3])
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], directory)
        answers = {}
        for name, key in inputs.items():
            signature = graph.signature_def[name]
            request = requests[name]
            request = [bytes.fromhex(text) for text in request] if request.dtype.kind == "U" else request
            probabilities = signature.outputs["probabilities"].name
            answers[name] = session.run(probabilities, {signature.inputs[key].name: request}).tolist()
    print(json.dumps(answers))
"""

Requests = dict[str, Any]
Answers = dict[str, np.ndarray]


RUNS = ("tests/e2e/test_run.py", "tests/e2e/test_refusal.py", "tests/e2e/test_report.py")
"""Modules whose tests share a sequence of runs in one workspace."""
LONG_SCOPES = (
    RUNS[0],
    "tests/docs/test_execution.py",
    "tests/e2e/test_fast_profile.py",
    "tests/e2e/test_own_images.py",
    "tests/kubeflow/test_contract.py",
    "tests/pipeline/test_evaluation.py",
    "tests/test_notebook.py",
)


def scope_of(nodeid: str) -> str:
    """Returns the module whose fixtures a test shares."""
    module = nodeid.partition("::")[0]
    return RUNS[0] if module in RUNS else module


class SharedRunScheduling(LoadScopeScheduling):
    """Sends the tests of a scope to one worker of pytest-xdist, whose `loadgroup` fails with pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedRunScheduling:
    """pytest-xdist calls this."""
    return SharedRunScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts the longest scopes first, then the others with slow tests, so that all workers end together."""
    slow = {scope_of(item.nodeid) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: ((scope := scope_of(item.nodeid)) not in LONG_SCOPES, scope not in slow))


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_environment() -> Iterator[None]:
    """What somebody has set for their own runs is no part of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        # `make test ARGS=...` would pass its ARGS to each `make` of a test.
        for name in [name for name in os.environ if re.match("DIGITS_|MAKE|ARGS$", name)]:
            patch.delenv(name)
        yield


@dataclass(frozen=True)
class CompletedRun:
    """How a `digits` process ended: what it showed to people, and the JSON that it printed."""

    exit_code: int
    shown: str
    result: Any
    workspace: Path

    @property
    def versions(self) -> list[int]:
        serving = self.workspace / "serving" / "digits-smoke"
        return sorted(int(path.name) for path in serving.glob("[0-9]*"))

    @property
    def steps_that_ran(self) -> list[str]:
        return [step["name"] for step in self.result["steps"] if step["state"] == "ran"]


RunDigits = Callable[..., CompletedRun]


@pytest.fixture(scope="session")
def run_digits() -> RunDigits:
    """Runs `digits run --profile smoke --json` in a workspace; `root` is where the code is taken from."""

    def run(workspace: Path, *arguments: str, root: Path = PROJECT_ROOT) -> CompletedRun:
        command = [
            sys.executable,
            "-m",
            "pipeline.cli.main",
            "run",
            "--profile",
            "smoke",
            "--json",
            "--config",
            os.devnull,
        ]
        process = subprocess.run(
            [*command, "--workspace", str(workspace), *arguments],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        result = json.loads(process.stdout) if process.stdout else None
        return CompletedRun(process.returncode, process.stderr, result, workspace)

    return run


@pytest.fixture(scope="session")
def first_run(run_digits: RunDigits, tmp_path_factory: pytest.TempPathFactory) -> CompletedRun:
    """A whole run of the smoke profile on real images, once for all workers; the pushed version stays."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "first-run.lock"):
        saved = folder / "first-run.pickle"
        if not saved.exists():
            saved.write_bytes(pickle.dumps(run_digits(folder / "first-run" / "workspace")))
        return pickle.loads(saved.read_bytes())


@pytest.fixture(scope="session")
def make_requests() -> Callable[[np.ndarray], Requests]:
    """Puts images, uint8[n,h,w] or uint8[n,h,w,3], into the form in which each signature takes them."""

    # Imported here, because pytest-xdist's own process reads this file but runs no test.
    from tests.support.examples import png, serialize

    def make(images: np.ndarray) -> Requests:
        files = [png(image) for image in images]
        return {
            "serving_default": files,
            "pixels": images.astype(np.float32),
            "examples": [serialize(image=file) for file in files],
        }

    return make


@pytest.fixture(scope="session")
def eager_answers() -> Callable[[Path, Requests], Answers]:
    """Asks every signature of a SavedModel that answers with a class through `tf.saved_model.load`."""

    import tensorflow as tf

    def ask(directory: Path, requests: Requests) -> Answers:
        signatures = tf.saved_model.load(str(directory)).signatures
        assert set(signatures) == {*INPUTS, "normalize"}
        return {
            name: signatures[name](**{key: tf.constant(requests[name])})["probabilities"].numpy()
            for name, key in INPUTS.items()
        }

    return ask


@pytest.fixture(scope="session")
def session_answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, Requests], Answers]:
    """Asks the same signatures through the session-based loader, in a fresh process."""

    def ask(directory: Path, requests: Requests) -> Answers:
        file = tmp_path_factory.mktemp("requests") / "requests.npz"
        arrays: dict[str, Any] = {
            name: [item.hex() for item in request] if isinstance(request, list) else request
            for name, request in requests.items()
        }
        np.savez(file, **arrays)
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(_SESSION_SCRIPT),
            str(directory),
            str(file),
            json.dumps(INPUTS),
        ]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        answers = json.loads(process.stdout.splitlines()[-1])
        return {name: np.array(probabilities) for name, probabilities in answers.items()}

    return ask
